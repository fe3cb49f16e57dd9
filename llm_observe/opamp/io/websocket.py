"""Drives a `ClientProtocol` over a WebSocket, on threads of its own.

Two threads while a line stands. The *driver's thread* dials, reads and calls ``on_event``; the
*writer* sends what the protocol has to say, so that a slow ``on_event`` holds up neither reports
nor heartbeats.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from typing import Any, TypeGuard

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from llm_observe.opamp import wire
from llm_observe.opamp.client import ClientProtocol
from llm_observe.opamp.events import ClientEvent, Malformed, ServerErrorReceived
from llm_observe.opamp.io.dialing import (
    Redirected,
    asked_delay,
    is_loopback,
    reason,
    websocket_url,
    with_scheme,
)
from llm_observe.opamp.io.driver import Around, ClientState, Driver, Headers
from llm_observe.opamp.values import AgentCapabilities, ErrorKind

__all__ = ["ClientState", "WebSocketClient"]

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
PING_S = 20.0
"""A ping after so many seconds; a line whose pong takes as long again is dead."""

# websockets logs headers and frames at debug level; a token must not get there.
_SILENT = logging.Logger("llm_observe.opamp.io.websocket.frames", logging.CRITICAL)


class WebSocketClient(Driver):
    """An agent's connection to an OpAMP server, restored for ever until `stop`.

    ``url`` is ws, wss, http or https. ``headers`` may be a function, asked on each dial.
    ``on_event`` is called on the driver's thread; what it raises is logged and dropped.
    ``around`` makes a context manager that each thread of the client works in.
    """

    def __init__(
        self,
        url: str,
        instance_uid: bytes,
        capabilities: AgentCapabilities,
        on_event: Callable[[ClientEvent], None],
        *,
        headers: Headers = {},  # noqa: B006  # never written to
        ssl_context: ssl.SSLContext | None = None,
        heartbeat_s: float = 30.0,
        ping_s: float = PING_S,
        max_message_bytes: int = wire.MAX_MESSAGE_BYTES,
        around: Around = nullcontext,
        logger: logging.Logger | None = None,
    ) -> None:
        transport = WebSocketTransport(url, headers=headers, ssl_context=ssl_context, ping_s=ping_s)
        protocol = ClientProtocol(
            instance_uid,
            capabilities,
            heartbeat_s=heartbeat_s,
            max_message_bytes=max_message_bytes,
        )
        self.url = transport.url
        super().__init__(transport, protocol, on_event, around=around, logger=logger)


class _Staying(ClientConnection):
    """A connection that follows no redirect: that would take the headers, and a token, along."""

    def handshake(self, *args: Any, **options: Any) -> None:
        try:
            super().handshake(*args, **options)
        except InvalidStatus as error:
            status = error.response.status_code
            if 300 <= status < 400:
                raise Redirected(status) from None
            raise


class WebSocketTransport:
    """The line of a driver, if it is a WebSocket."""

    framed = True

    def __init__(
        self,
        url: str,
        *,
        headers: Headers = {},  # noqa: B006  # never written to
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        ping_s: float = PING_S,
    ) -> None:
        self.url = websocket_url(url)
        self._proxy = proxy and with_scheme(proxy)
        self._headers = headers
        self._ssl_context = ssl_context
        self._ping_s = ping_s
        # The line that stands, and how it shall be closed.
        self._connection: ClientConnection | None = None
        self._closing = (1000, "")

    def session(self, driver: Driver) -> float | None:
        """Dial, and serve the line until it ends."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._dial(driver.protocol.max_message_bytes))
            except Exception as error:  # noqa: BLE001  # names, TLS, proxies, the caller's headers
                driver.note_failure(reason(error))
                return asked_delay(error, time.time())
            return self._talk(driver, connection)

    def _dial(self, max_message_bytes: int) -> ClientConnection:
        headers = self._headers() if callable(self._headers) else self._headers
        return connect(
            self.url,
            ssl=self._ssl_context if self.url.startswith("wss:") else None,
            additional_headers=dict(headers),
            user_agent_header="llm-observe-opamp",
            compression=None,
            proxy=self._proxy or (None if is_loopback(self.url) else True),
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=self._ping_s,
            ping_timeout=self._ping_s,
            max_size=max_message_bytes,
            logger=_SILENT,
            create_connection=_Staying,
        )

    def _talk(self, driver: Driver, connection: ClientConnection) -> float | None:
        _limit_unacknowledged(connection, 2 * self._ping_s)
        self._connection, self._closing = connection, (1000, "")
        if not driver.open_line():
            return None
        driver.emit(driver.line_works())
        writer = driver.thread(lambda: self._write(driver, connection), "llm-observe-opamp-writer")
        try:
            writer.start()
            ending, hint = self._read(driver, connection, writer)
        finally:
            self._connection = None
            driver.line_down()
            with suppress(OSError, WebSocketException):
                connection.close()
        driver.note_end(ending)
        writer.join(CLOSE_TIMEOUT_S)
        return hint

    def cut(self) -> None:
        """Cut the line under a peer that does not answer."""
        connection = self._connection
        if connection is not None:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """The parent keeps its socket; this process gives up its copy."""
        if self._connection is not None:
            self._connection.socket.close()
        self._connection = None

    def _read(
        self, driver: Driver, connection: ClientConnection, writer: threading.Thread
    ) -> tuple[str, float | None]:
        """Hand on what arrives until the line ends: why it did, and how long to stay away."""
        while True:
            try:
                data = connection.recv()
            except (OSError, WebSocketException) as error:
                return reason(error), None
            if isinstance(data, str):  # "MUST be binary"
                driver.emit(Malformed("a text frame"))
                self._closing = (1003, "OpAMP is binary")
                _take_leave(driver, writer)
                return "the server sent a text frame", None
            for event in driver.receive(data):
                driver.emit(event)
                if _must_leave(event):
                    _take_leave(driver, writer)
                    return f"the server is unavailable: {event.message}", event.retry_after_s

    # ------------------------------------------------------------------------ the writer's thread

    def _write(self, driver: Driver, connection: ClientConnection) -> None:
        try:
            while (data := self._next_message(driver, connection)) is not None:
                driver.log_message(">", data)
                connection.send(data)
        except (OSError, WebSocketException):
            return  # the reader learns of it, and dials again
        finally:
            connection.close(*self._closing)

    def _next_message(self, driver: Driver, connection: ClientConnection) -> bytes | None:
        """Wait for something to say on this line; None when there is nothing more to come."""
        with driver.condition:
            while self._connection is connection and driver.protocol.on_line:
                now = time.monotonic()
                data = driver.protocol.message_to_send(now)
                if data is not None:
                    return data
                deadline = driver.protocol.next_deadline(now)
                driver.condition.wait(None if deadline is None else max(0.0, deadline - now))
        return None


def _must_leave(event: ClientEvent) -> TypeGuard[ServerErrorReceived]:
    return isinstance(event, ServerErrorReceived) and event.kind is ErrorKind.UNAVAILABLE


def _take_leave(driver: Driver, writer: threading.Thread) -> None:
    """Have the writer say that the agent disconnects, and only then close."""
    with driver.condition:
        driver.protocol.leave_line()
        driver.condition.notify_all()
    writer.join(CLOSE_TIMEOUT_S)


def _limit_unacknowledged(connection: ClientConnection, seconds: float) -> None:
    """Bound how long sent bytes may stay unacknowledged: a ping cannot pass a full buffer."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        with suppress(OSError):
            connection.socket.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
