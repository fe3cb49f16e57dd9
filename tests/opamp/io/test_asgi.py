from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from llm_observe.opamp.events import StatusReported
from tests.opamp.io.agents import Agent
from tests.opamp.io.peers import Hand, Recorder, Socket, make_server
from tests.opamp.io.serving import serving

UID = b"a" * 16


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Parsed:
    """A web server's protocol object, as far as an application sees it by its ``receive``."""

    def __init__(self, socket: Socket, **kept: Any) -> None:
        self.socket = socket
        self.__dict__.update(kept)

    async def receive(self) -> Any:
        return await self.socket.to_app.get()


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [[(b"a", b"b")], ((b"a", b"b"),)])
async def test_an_accepted_line_keeps_no_headers_that_it_can_let_go_of(headers: Any) -> None:
    server, request = make_server(Recorder()), SimpleNamespace(headers={"a": "b"})
    line = Socket(server)
    line.scope["headers"], line.receive = headers, Parsed(line, request=request).receive
    async with line.open():
        await line.got()
        await line.exchange(Hand(UID).hello())
        assert not request.headers
        assert not headers or isinstance(headers, tuple)


def test_uvicorn_is_a_server_whose_parsers_headers_are_let_go_of() -> None:
    recorder = Recorder()
    kept: list[tuple[Any, Any]] = []
    server = make_server(recorder)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            kept.append((scope, receive.__self__))
        await server(scope, receive, send)

    with serving(app) as address, Agent(address):
        recorder.wait_until(lambda: recorder.of(StatusReported), "its report")
        ((scope, protocol),) = kept
        assert not scope["headers"]
        assert not protocol.request.headers
        assert not protocol.response.headers
    assert recorder.headers[0]["upgrade"] == "websocket"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("torn_down", [False, True])
def test_an_upgrade_that_is_refused_is_no_error_to_the_web_server(
    torn_down: bool, loop: str
) -> None:
    """Neither one that is told why, nor one whose line is torn down as the server stops."""
    server = make_server(Recorder())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def on_its_way(message: Any) -> None:
            if torn_down and message["type"] == "websocket.http.response.start":
                receive.__self__.transport.close()
            await send(message)

        await server(scope, receive, on_its_way if scope["type"] == "websocket" else send)

    lines: list[str] = []
    watch = logging.Handler(logging.ERROR)
    watch.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]  # a spy
    log = logging.getLogger("uvicorn.error")
    with serving(app, loop=loop) as address:
        server._closing = True
        log.setLevel(logging.ERROR)
        log.addHandler(watch)
        try:
            for _ in range(5):
                with pytest.raises((WebSocketException, OSError)), connect(f"ws://{address}/"):
                    pass
        finally:
            log.removeHandler(watch)
    assert lines == []
