"""Real sockets for the drivers: uvicorn in a thread, or in a process that can be killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.opamp.io.peers import DEADLINE_S, Recorder, make_server


class Server(uvicorn.Server):
    """Says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[str]:
    """An ASGI app on a free loopback port; its address without a scheme."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, log_level="critical", ws="websockets-sansio", lifespan="on", **options
        )
        server = Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            assert server.up.wait(DEADLINE_S)
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(DEADLINE_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def process(port: int) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own; it prints ``up``, and a line for each event."""
    command = [sys.executable, "-u", "-m", "tests.opamp.io.serving", str(port)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        yield child
    finally:
        child.kill()
        child.communicate()


class Printer(Recorder):
    def take(self, uid: bytes, event: Any) -> None:
        changed = ",".join(sorted(getattr(event, "changed", ())))
        print(type(event).__name__, changed, flush=True)


class Loud(Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print("up", flush=True)


if __name__ == "__main__":
    Loud(
        uvicorn.Config(
            make_server(Printer()),
            port=int(sys.argv[1]),
            log_level="critical",
            ws="websockets-sansio",
        )
    ).run()
