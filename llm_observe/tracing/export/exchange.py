"""One request in flight, which another thread can end for good.

How is the wire's business: a socket (`SocketWire`) or a gRPC channel
(`llm_observe.tracing.export.grpc_transport`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Protocol

from llm_observe.settings.model import Destination
from llm_observe.tracing.rendering.privacy import Exposure

_FORGET = struct.pack("ii", 1, 0)


class Aborted(ConnectionError):
    """The request was ended by our own side."""


class Wire(Protocol):
    """A connection that carries one request at a time."""

    def forget(self) -> None:
        """Send nothing more, and wake the thread that waits for the answer. Called by any thread."""

    def close(self) -> None:
        """Follows `forget`, on the thread that waited."""


class SocketWire:
    """A TCP connection, under TLS or not.

    Closing a socket is not enough: what the kernel has already taken would still be sent. So the
    socket is set to forget (``SO_LINGER`` 0) and shut down, which wakes the sending thread; that
    thread closes it, and the kernel resets the connection and throws its buffer away.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def forget(self) -> None:
        """Acts on the TCP socket even where it is a TLS one: no farewell is wanted."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FORGET)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Only now is the kernel's buffer gone."""
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())


class Exchange:
    """What is on the wire: made under ``privacy``, for ``destination``, until ``deadline``.

    ``privacy`` tells the `llm_observe.tracing.rendering.privacy.Privacy` it was made under; None: it holds
    nothing that one of them governs. ``late`` says whether it must not leave any more.

    ``opened`` and ``close`` are for the sending thread, the rest for any.
    """

    def __init__(
        self,
        privacy: Exposure | None,
        destination: Destination | None,
        deadline: float,
        late: Callable[[], bool] = lambda: False,
    ) -> None:
        self.privacy, self.destination, self.deadline = privacy, destination, deadline
        self._late = late
        self._lock = threading.Lock()
        self._wire: Wire | None = None
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
            return self._aborted and self._wire is None

    def opened(self, wire: Wire) -> None:
        """The connection is there; the next thing it carries is the request.

        Raises:
            Aborted: It must not be sent any more.
        """
        with self._lock:
            if self._aborted or self._late():
                self._aborted = True
                raise Aborted("aborted before it was sent")
            self._wire = wire

    def abort(self) -> None:
        """End it: a blocked sender wakes up, and nothing more is sent."""
        with self._lock:
            self._aborted = True
            if self._wire is not None:
                self._wire.forget()

    def expire(self) -> None:
        """Abort because the deadline has passed: this is the destination's failure."""
        self.expired = True
        self.abort()

    def close(self) -> None:
        """After the request, by its own thread."""
        with self._lock:
            wire, self._wire = self._wire, None
        if wire is not None and self._aborted:
            wire.close()
