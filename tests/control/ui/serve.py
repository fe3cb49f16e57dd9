"""The pages over a seeded control plane, for the browser: ``python -m tests.control.ui.serve``."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from llm_observe.control.ui import routes
from tests.control.ui.seed import CHATBOT, fill, world


async def main(scene: str, port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with world(Path(folder)) as here:
            if scene == "full":
                await fill(here)
            elif scene == "silent":
                await here.app(CHATBOT, "llama-chatbot", settings={"sampling": {"ratio": 0.0}})
                here.measure()
            app = Starlette(routes=routes(here.service))
            await uvicorn.Server(
                uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")
            ).serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--scene", choices=("empty", "full", "silent"), default="full")
    parser.add_argument("--port", type=int, default=4399)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.scene, arguments.port))
