"""An ASGI app that asks when it is asked, and says who it is. No lifespan, no clean-up."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import uvicorn

import llm_observe
from tests.processes.programs.work import ask

handle = llm_observe.observe()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("only HTTP")
    if scope["path"] == "/slow":
        await asyncio.to_thread(ask, 1, "slow")
        await asyncio.sleep(0.5)
    await asyncio.to_thread(ask, 1, scope["query_string"].decode())
    body = json.dumps({"pid": os.getpid(), "instance": handle.instance_id}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", lifespan="off")
