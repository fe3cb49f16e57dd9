"""OTLP/HTTP receivers that note when each byte reached them, all on one thread.

Time is counted in epochs. `Post.epoch` begins the next one, once all that has reached this machine's
end of any connection is read and noted under the present one, also where a receiver had stopped
reading. On loopback a byte that was sent is there at once, so what is noted under a later epoch left
later.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import selectors
import socket
import termios
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal[
    "well", "slow", "hanging", "unavailable", "refusing", "redirecting", "broken", "deaf"
]
MODES: tuple[Mode, ...] = (
    "well", "slow", "hanging", "unavailable", "refusing", "redirecting", "broken", "deaf",
)  # fmt: skip
STATUS = {"unavailable": 503, "refusing": 400, "redirecting": 307}
PATIENCE_S = 20.0
SLOW_S = 0.02
_SMALL = 4096


@dataclass
class Request:
    """What came of one request, whole or not."""

    receiver: str
    head: bytes = b""
    body: bytearray = field(default_factory=bytearray)
    first_epoch: int = 0
    last_epoch: int = 0

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode() if b" " in self.head else ""

    @property
    def text(self) -> bytes:
        """The body as far as it came, unpacked."""
        if b"content-encoding: gzip" not in self.head.lower():
            return bytes(self.body)
        with contextlib.suppress(zlib.error):
            return zlib.decompressobj(wbits=31).decompress(bytes(self.body))
        return b""


@dataclass
class Receiver:
    """One address. ``mode`` is how it behaves from now on."""

    name: str
    url: str
    mode: Mode = "well"


class Post:
    """The receivers and their thread. Use as a context manager."""

    def __init__(self, names: str) -> None:
        self.requests: list[Request] = []
        self.now = 0
        self._selector = selectors.DefaultSelector()
        self._asked: list[Callable[[], None]] = []
        self._lines: set[_Line] = set()
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._selector.register(self._ours, selectors.EVENT_READ, self._woken)
        self.receivers = {name: self._listen(name) for name in names}
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True, name="receivers")

    def __enter__(self) -> Post:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._theirs.send(b"x")
        self._thread.join(PATIENCE_S)
        for key in [*self._selector.get_map().values()]:
            key.fileobj.close()  # type: ignore[union-attr]  # sockets, all of them
        self._theirs.close()
        self._selector.close()

    def epoch(self) -> int:
        """Begin the next epoch and return its number."""
        self._do(self._begin_epoch)
        return self.now

    def forget(self) -> None:
        """Drop all connections and everything noted: for the next sequence."""
        self._do(self._forget)

    # -- the thread ----------------------------------------------------------------------------

    def _do(self, what: Callable[[], None]) -> None:
        done = threading.Event()
        self._asked.append(lambda: (what(), done.set())[-1])  # type: ignore[func-returns-value]
        self._theirs.send(b"x")
        assert done.wait(PATIENCE_S)

    def _listen(self, name: str) -> Receiver:
        server = socket.create_server(("127.0.0.1", 0), backlog=64)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
        server.setblocking(False)
        receiver = Receiver(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        self._selector.register(
            server, selectors.EVENT_READ, lambda: self._accept(server, receiver)
        )
        return receiver

    def _run(self) -> None:
        while self._running:
            for key, _ in self._selector.select(self._wait_s()):
                key.data()
            for line in [*self._lines]:
                line.look(time.monotonic())
            while self._asked:
                self._asked.pop(0)()

    def _wait_s(self) -> float | None:
        return 0.005 if any(line.waits for line in self._lines) else None

    def _woken(self) -> None:
        self._ours.recv(4096)

    def _accept(self, server: socket.socket, receiver: Receiver) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = server.accept()
                line = _Line(self, sock, receiver)
                self._lines.add(line)
                line.listen()

    def _begin_epoch(self) -> None:
        for key, _ in self._selector.select(0):
            if key.fileobj is not self._ours:
                key.data()
        for line in [*self._lines]:
            line.read_all()
        self.now += 1

    def _forget(self) -> None:
        for line in [*self._lines]:
            line.close()
        self.requests = []
        for receiver in self.receivers.values():
            receiver.mode = "well"


class _Line:
    """One connection."""

    def __init__(self, post: Post, sock: socket.socket, receiver: Receiver) -> None:
        sock.setblocking(False)
        self._post, self._sock, self._receiver = post, sock, receiver
        self._received = bytearray()
        self._request: Request | None = None
        self._listening = self._closed = False
        self._due: list[tuple[float, Request]] = []

    @property
    def waits(self) -> bool:
        """Whether it must be looked at again soon."""
        return bool(self._due) or not self._listening

    def listen(self) -> None:
        """Read from now on whenever something comes."""
        if not self._listening and not self._closed:
            self._listening = True
            self._post._selector.register(self._sock, selectors.EVENT_READ, self._readable)

    def look(self, now: float) -> None:
        """Answer what is due, and hear again."""
        if self._receiver.mode != "deaf":
            self.listen()
        while self._due and self._is_due(now):
            self._answer(self._due.pop(0)[1])

    def read_all(self) -> None:
        """What is there now; not what comes because this makes room."""
        there = 0 if self._closed else _waiting(self._sock) + 1  # of a line that ended it omits one
        while there > 0 and not self._closed:
            there -= self._read(there)

    def close(self) -> None:
        """Give it up."""
        if self._listening:
            self._post._selector.unregister(self._sock)
        self._listening, self._closed = False, True
        self._sock.close()
        self._post._lines.discard(self)

    def _readable(self) -> None:
        if self._receiver.mode == "deaf" and self._request is not None:
            self._post._selector.unregister(self._sock)  # the first bytes, and then no more
            self._listening = False
        elif not self._closed:
            self._read()

    def _read(self, most: int = 65536) -> int:
        try:
            data = self._sock.recv(min(most, 65536))
        except BlockingIOError:
            return most
        except OSError:
            data = b""
        if not data:
            self.close()
        self._received += data
        self._parse()
        return len(data) or most

    def _parse(self) -> None:
        request = self._request
        if request is None:
            head, end, _ = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            request = self._request = Request(self._receiver.name, bytes(head))
            request.first_epoch = self._post.now
            self._post.requests.append(request)
            del self._received[: len(head) + 4]
        missing = _length(request.head) - len(request.body)
        request.body += self._received[:missing]
        del self._received[:missing]
        request.last_epoch = self._post.now
        if len(request.body) >= _length(request.head):
            self._request = None
            self._due.append((time.monotonic(), request))
            self.look(time.monotonic())

    def _is_due(self, now: float) -> bool:
        slow = SLOW_S if self._receiver.mode == "slow" else 0.0
        return self._receiver.mode != "hanging" and now >= self._due[0][0] + slow

    def _answer(self, _: Request) -> None:
        if self._receiver.mode == "broken":
            self.close()
            return
        status = STATUS.get(self._receiver.mode, 200)
        others: list[Any] = [x for x in self._post.receivers.values() if x is not self._receiver]
        location = f"location: {others[0].url}/v1/traces\r\n" if status == 307 else ""
        with contextlib.suppress(OSError):
            self._sock.send(f"HTTP/1.1 {status} x\r\n{location}content-length: 0\r\n\r\n".encode())


def _waiting(sock: socket.socket) -> int:
    """Bytes that can be read at once."""
    size = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, size)
    return size[0]


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
