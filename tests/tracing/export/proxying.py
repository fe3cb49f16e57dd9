"""A forward proxy on loopback: CONNECT, and requests by their full URL. It may want a password."""

from __future__ import annotations

import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Proxy(socketserver.ThreadingTCPServer):
    """Keeps the head of each connection. ``wanted`` is what `Proxy-Authorization` must say."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, wanted: str = "", tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wanted = wanted
        self.heads: list[str] = []
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_address[1]}"

    @property
    def lines(self) -> list[str]:
        """The first line of each connection."""
        return [head.partition("\r\n")[0] for head in self.heads]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error here."""


class _Handler(socketserver.StreamRequestHandler):
    server: Proxy
    rbufsize = 0  # what comes behind the head stays in the socket

    def handle(self) -> None:
        head = self._head()
        if not head:
            return
        self.server.heads.append(head)
        told = [line for line in head.split("\r\n") if line.lower().startswith("proxy-auth")]
        if self.server.wanted and not any(self.server.wanted in line for line in told):
            self.wfile.write(b"HTTP/1.1 407 canary-words\r\ncontent-length: 0\r\n\r\n")
            return
        method, place, _ = head.partition("\r\n")[0].split(" ")
        if method == "CONNECT":
            host, _, port = place.rpartition(":")
            self._relay(host, int(port), b"", b"HTTP/1.1 200 fine\r\n\r\n")
        else:
            url = urlsplit(place)
            first = head.replace(place, url.path, 1).encode("latin-1")
            self._relay(url.hostname or "", url.port or 80, first, b"")

    def _head(self) -> str:
        lines = []
        while (line := self.rfile.readline()).strip():
            lines.append(line)
        return b"".join([*lines, line]).decode("latin-1")

    def _relay(self, host: str, port: int, first: bytes, answer: bytes) -> None:
        with socket.create_connection((host, port), 10) as there:
            there.sendall(first)
            self.connection.sendall(answer)
            while self._passed_on(there):
                pass

    def _passed_on(self, there: socket.socket) -> bool:
        pending = getattr(self.connection, "pending", lambda: 0)()
        ready = [self.connection] if pending else select.select([self.connection, there], [], [])[0]
        for source in ready:
            data = source.recv(65536)
            if not data:
                return False
            (there if source is self.connection else self.connection).sendall(data)
        return True


@contextmanager
def proxying(wanted: str = "", tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    with Proxy(wanted, tls) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()
