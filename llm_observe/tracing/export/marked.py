"""Sockets that a library opened for us, found again by a mark.

gRPC does not show the sockets of its channels. But it sets the keep-alive time-out that a channel
was given as ``TCP_USER_TIMEOUT``, so a number that is used once tells a channel's socket from all
others of the process, the application's own to the same place included.

The descriptors of the application are only asked, by number, for that option. None is copied:
to close the copy of a file's descriptor would drop the locks that the process holds on the file.

Linux only; elsewhere nothing is found, and a connection ends as its library ends it.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator

_FDS = "/proc/self/fd"
_LIBC = ctypes.CDLL(None)
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
    for fd in _marked(mark):
        with contextlib.suppress(OSError), _held(fd, mark) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FORGET)
            sock.shutdown(socket.SHUT_RDWR)


def gone(mark: int, within_s: float) -> bool:
    """Wait until the marked sockets are closed; False if they were not in time."""
    until = time.monotonic() + within_s
    while any(True for _ in _marked(mark)):
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL_S)
    return True


def _marked(mark: int) -> Iterator[int]:
    """Descriptors of the marked sockets."""
    if _OPTION is None or not os.path.isdir(_FDS):
        return
    for name in os.listdir(_FDS):
        if _mark_of(int(name)) == mark:
            yield int(name)


def _mark_of(fd: int) -> int:
    """The time-out of a TCP socket; 0 for anything else. Changes nothing."""
    value, size = ctypes.c_int(0), ctypes.c_uint(ctypes.sizeof(ctypes.c_int))
    asked = (fd, socket.IPPROTO_TCP, _OPTION, ctypes.byref(value), ctypes.byref(size))
    return value.value if _LIBC.getsockopt(*asked) == 0 else 0


@contextlib.contextmanager
def _held(fd: int, mark: int) -> Iterator[socket.socket]:
    """The socket itself, which nobody can close meanwhile and give its number to another."""
    own = os.dup(fd)
    if _mark_of(own) != mark:  # it was closed just now; a copy of what came after stays unclosed
        raise OSError
    with socket.socket(fileno=own) as sock:
        yield sock
