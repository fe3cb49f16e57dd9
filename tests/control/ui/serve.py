"""The whole control plane, seeded, for the browser: ``python -m tests.control.ui.serve``."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn

from llm_observe.control.assembly import ServeOptions, assembled
from tests.control.ui.seed import CHATBOT, World, fill


async def empty(here: World) -> None:
    """Nothing has happened."""


async def silent(here: World) -> None:
    """An app that keeps no traces."""
    await here.app(CHATBOT, "llama-chatbot", settings={"sampling": {"ratio": 0.0}})
    here.measure()


SCENES: dict[str, Callable[[World], Awaitable[None]]] = {
    "empty": empty,
    "full": fill,
    "silent": silent,
}


async def main(scene: str, port: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with assembled(ServeOptions(port=port, data_dir=Path(folder))) as plane:
            await SCENES[scene](World(plane.service, plane.service._store))
            config = uvicorn.Config(
                plane.app, port=port, lifespan="off", log_level="warning", timeout_graceful_shutdown=1
            )  # fmt: skip
            await uvicorn.Server(config).serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--scene", choices=sorted(SCENES), default="full")
    parser.add_argument("--port", type=int, default=4399)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.scene, arguments.port))
