"""A TCP relay on loopback that sees what passes: how much, its first line, and how it ends."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 20.0


class Wiretap:
    """``bytes`` counts what clients sent; ``closed``: a client has closed its connection.

    With ``deaf_after`` it stops to read what a client sends after so many bytes, until ``resume``;
    its own buffer is small, so that the rest stays in the client's. ``reset``: the client's kernel
    has thrown away what was left.
    """

    def __init__(self, port: int, deaf_after: int | None = None) -> None:
        self._port, self._deaf_after = port, deaf_after
        self.deaf, self.resume, self.reset = threading.Event(), threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        if deaf_after is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
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
            while data := self._read(one, mine):
                other.sendall(data)
        if mine:
            self.closed.set()
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def _read(self, sock: socket.socket, mine: bool) -> bytes:
        if mine and self._deaf_after is not None and self.bytes >= self._deaf_after:
            self.deaf.set()
            self.resume.wait(PATIENCE_S)
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            self.reset.set()
            raise
        if mine:
            self.first = self.first or data
            self.bytes += len(data)
        return data


@contextmanager
def tapping(port: int, deaf_after: int | None = None) -> Iterator[Wiretap]:
    """A relay to a port of this machine."""
    tap = Wiretap(port, deaf_after)
    thread = threading.Thread(target=tap.run, daemon=True)
    thread.start()
    try:
        yield tap
    finally:
        tap.close()
        thread.join(PATIENCE_S)
