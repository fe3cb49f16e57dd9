from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from llm_observe.control.assembly import ServeOptions, assembled
from tests.control.ui.seed import World

LOCAL = "http://127.0.0.1:4320"


class Browser(httpx.AsyncClient):
    """A client of the whole application that keeps cookies, like a browser without scripts."""

    async def text(self, path: str, status: int = 200) -> str:
        answer = await self.get(path, headers={"accept": "text/html"})
        assert answer.status_code == status, answer.text[:2000]
        return answer.text

    async def submit(self, path: str, /, **fields: str | list[str]) -> httpx.Response:
        """A form of ours, as a browser sends it."""
        return await self.post(path, data=fields, headers={"origin": LOCAL})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def scene(tmp_path: Path, anyio_backend: str) -> AsyncIterator[tuple[World, Browser]]:
    async with assembled(ServeOptions(data_dir=tmp_path)) as plane:
        transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 50000))
        async with Browser(transport=transport, base_url=LOCAL) as browser:
            yield World(plane.service, plane.service._store), browser


@pytest.fixture
def here(scene: tuple[World, Browser]) -> World:
    return scene[0]


@pytest.fixture
def browser(scene: tuple[World, Browser]) -> Browser:
    return scene[1]
