from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette

from llm_observe.testing import FakeReplicate, ScriptedEngine, serve_in_thread


def test_the_lifespan_of_the_app_is_run() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        seen.append("up")
        yield
        seen.append("down")

    with serve_in_thread(Starlette(lifespan=lifespan)):
        assert seen == ["up"]
    assert seen == ["up", "down"]


def test_the_port_is_free_again_afterwards() -> None:
    app = FakeReplicate(ScriptedEngine())
    with serve_in_thread(app) as first:
        assert httpx.get(f"{first.url}/healthz").status_code == 200
    with serve_in_thread(app, port=first.port) as second:
        assert second.url == first.url


def test_a_taken_port_is_an_error_of_the_caller() -> None:
    app = FakeReplicate(ScriptedEngine())
    with serve_in_thread(app) as taken, pytest.raises(OSError, match="in use"):
        serve_in_thread(app, port=taken.port).__enter__()


def test_an_app_that_does_not_start_is_an_error_of_the_caller() -> None:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        if _app.routes == []:
            raise ValueError("no")
        yield

    with pytest.raises(RuntimeError, match="did not start"):
        serve_in_thread(Starlette(lifespan=lifespan)).__enter__()
