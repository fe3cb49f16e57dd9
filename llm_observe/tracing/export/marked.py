"""Sockets that a library opened for us, found again by a mark.

gRPC does not show the sockets of its channels. But it sets the keep-alive time-out that a channel
was given as ``TCP_USER_TIMEOUT``, so a number that is used once tells a channel's socket from all
others of the process, the application's own to the same place included.

Linux only; elsewhere nothing is found, and a connection ends as its library ends it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator

_FDS = "/proc/self/fd"
_FORGET = struct.pack("ii", 1, 0)
_OPTION = getattr(socket, "TCP_USER_TIMEOUT", None)
_FIRST, _MARKS = 20_011, 9_973
_POLL_S = 0.001

_numbers = itertools.count()


def new_mark() -> int:
    """A time-out in milliseconds, around 25 s, that no other channel of late has."""
    return _FIRST + next(_numbers) % _MARKS


def forget(mark: int) -> None:
    """Send nothing more; once the library closes them, the kernel throws unsent bytes away.

    A library that waits for a socket to take more bytes learns of its end, and closes it.
    """
    for sock in _marked(mark):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FORGET)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def gone(mark: int, within_s: float) -> bool:
    """Wait until the marked sockets are closed; False if they were not in time."""
    until = time.monotonic() + within_s
    while any(True for _ in _marked(mark)):
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL_S)
    return True


def _marked(mark: int) -> Iterator[socket.socket]:
    if _OPTION is None or not os.path.isdir(_FDS):
        return
    for name in os.listdir(_FDS):
        with contextlib.suppress(OSError), _same(int(name)) as sock:
            if _mark_of(sock) == mark:
                yield sock


@contextlib.contextmanager
def _same(fd: int) -> Iterator[socket.socket]:
    """The socket behind a descriptor, by a descriptor of our own."""
    own = os.dup(fd)
    try:
        sock = socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise
    with sock:
        yield sock


def _mark_of(sock: socket.socket) -> int:
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        return 0
    return 0 if _OPTION is None else sock.getsockopt(socket.IPPROTO_TCP, _OPTION)
