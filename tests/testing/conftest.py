from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from replicate.client import Client
from starlette.types import ASGIApp, Receive, Scope, Send

from llm_observe.testing import FakeReplicate, ScriptedEngine, serve_in_thread

Connect = Callable[..., Client]


class Switchboard:
    """Hands each request to the app of the test that runs: one socket serves them all."""

    def __init__(self) -> None:
        self.app: ASGIApp = FakeReplicate(ScriptedEngine())
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def switchboard() -> Iterator[Switchboard]:
    board = Switchboard()
    with serve_in_thread(board) as server:
        board.url = server.url
        yield board


@pytest.fixture
def connect(switchboard: Switchboard) -> Iterator[Connect]:
    """Put a fake on the socket and return the real client, connected to it."""
    with ExitStack() as stack:

        def make(fake: FakeReplicate, token: str = "any", **options: Any) -> Client:
            switchboard.app = fake
            client = Client(token, base_url=switchboard.url, **options)
            client.poll_interval = 0.005
            stack.callback(lambda: client._client.close())
            return client

        yield make
