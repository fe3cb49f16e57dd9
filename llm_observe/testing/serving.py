"""Run an ASGI app on a real loopback socket for the length of a ``with`` block."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn

_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Served:
    """Where the app answers."""

    url: str
    """Base URL without a slash at the end, for example ``http://127.0.0.1:40123``."""

    port: int


@contextmanager
def serve_in_thread(app: Any, *, port: int = 0, grace_s: float = 1.0) -> Iterator[Served]:
    """Serve an ASGI app by uvicorn in a daemon thread, on loopback only.

    ::

        with serve_in_thread(FakeReplicate(ScriptedEngine(["Hello."]))) as server:
            client = replicate.Client("any token", base_url=server.url)

    Args:
        app: Any ASGI app; its lifespan is run.
        port: 0 takes a free one. A port that was served before can be taken again at once.
        grace_s: Seconds that requests in flight get at the end.

    Raises:
        OSError: The port is taken.
        RuntimeError: The app's start-up failed or took over 30 seconds.
    """
    with closing(_listener(port)) as listener:
        server = _server(app, grace_s)
        thread = threading.Thread(
            target=_run, args=(server, listener), name="llm-observe-testing", daemon=True
        )
        thread.start()
        try:
            _await_start(server, thread)
            taken = listener.getsockname()[1]
            yield Served(url=f"http://127.0.0.1:{taken}", port=taken)
        finally:
            server.should_exit = True
            thread.join(_DEADLINE_S)


def _listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """A uvicorn server that says when it is up, or that it never will be."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.settled.set()


def _server(app: Any, grace_s: float) -> _Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=max(1, round(grace_s)),
        ws="none",
    )
    return _Server(config)


def _run(server: _Server, listener: socket.socket) -> None:
    with suppress(SystemExit):  # uvicorn's word for a start-up that failed
        server.run([listener])


def _await_start(server: _Server, thread: threading.Thread) -> None:
    server.settled.wait(_DEADLINE_S)
    if not server.started or server.should_exit or not thread.is_alive():
        raise RuntimeError("the app did not start")
