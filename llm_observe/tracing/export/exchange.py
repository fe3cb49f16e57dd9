"""One request in flight, which another thread can end for good.

Closing a socket is not enough: what the kernel has already taken would still be sent. An
abort therefore sets the socket to forget (``SO_LINGER`` 0) and shuts it down, which wakes the
sending thread; that thread closes it, and the kernel resets the connection and throws its
buffer away.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading

from llm_observe.settings.model import CaptureLevel, Destination

_FORGET = struct.pack("ii", 1, 0)


class Aborted(ConnectionError):
    """The request was ended by our own side."""


class Exchange:
    """What is on the wire: rendered under ``level``, for ``destination``, until ``deadline``.

    ``opened`` and ``close`` are for the sending thread, the rest for any.
    """

    def __init__(
        self, level: CaptureLevel, destination: Destination | None, deadline: float
    ) -> None:
        self.level, self.destination, self.deadline = level, destination, deadline
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._aborted = False
        self.expired = False

    @property
    def aborted(self) -> bool:
        """Whether `abort` was called."""
        return self._aborted

    @property
    def harmless(self) -> bool:
        """Aborted before a byte was sent, and unable to send one any more."""
        with self._lock:
            return self._aborted and self._socket is None

    def opened(self, sock: socket.socket) -> None:
        """The connection is there; the next thing it carries is the request.

        Raises:
            Aborted: It must not be sent any more.
        """
        with self._lock:
            if self._aborted:
                raise Aborted("aborted before it was sent")
            self._socket = sock

    def abort(self) -> None:
        """End it: a blocked sender wakes up, and nothing more is sent."""
        with self._lock:
            self._aborted = True
            if self._socket is not None:
                _forget(self._socket)

    def expire(self) -> None:
        """Abort because the deadline has passed: this is the destination's failure."""
        self.expired = True
        self.abort()

    def close(self) -> None:
        """After an aborted request, by its own thread: only now is the kernel's buffer gone."""
        with self._lock:
            sock, self._socket = self._socket, None
        if sock is not None and self._aborted:
            with contextlib.suppress(OSError):
                os.close(sock.detach())


def _forget(sock: socket.socket) -> None:
    """Acts on the TCP socket even where ``sock`` is a TLS one: no farewell is wanted."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FORGET)
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
