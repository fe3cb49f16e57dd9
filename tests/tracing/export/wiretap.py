"""A TCP relay on loopback that sees what passes: how much, its first line, and the end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 20.0


class Wiretap:
    """``bytes`` counts what clients sent; ``closed``: a client has closed its connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.bytes = 0
        self.first = b""
        self.connections = 0
        self.closed = threading.Event()
        self._sockets: list[socket.socket] = []

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self.connections += 1
                self._sockets += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._relay, args=(one, other), daemon=True).start()

    def close(self) -> None:
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _relay(self, one: socket.socket, other: socket.socket) -> None:
        mine = one.getpeername()[1] != self._port
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if mine:
                    self.first = self.first or data
                    self.bytes += len(data)
                other.sendall(data)
        if mine:
            self.closed.set()
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)


@contextmanager
def tapping(port: int) -> Iterator[Wiretap]:
    """A relay to a port of this machine."""
    tap = Wiretap(port)
    thread = threading.Thread(target=tap.run, daemon=True)
    thread.start()
    try:
        yield tap
    finally:
        tap.close()
        thread.join(PATIENCE_S)
