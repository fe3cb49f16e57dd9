"""Drives a `ClientProtocol` over a WebSocket, on threads of its own.

Two threads while a line stands. The *driver's thread* dials, reads and calls ``on_event``; the
*writer* sends what the protocol has to say, so that a slow ``on_event`` holds up neither reports
nor heartbeats. One lock guards the protocol; it is never held while the network or the caller's
code runs.

Log lines, at debug level, carry a direction: ``>`` sent, ``<`` received, ``=`` state, ``!``
trouble. They name fields, never contents.
"""

from __future__ import annotations

import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TypeGuard

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from llm_observe.errors import LocalProtocolError, RemoteProtocolError
from llm_observe.opamp import wire
from llm_observe.opamp.backoff import backoff, respecting
from llm_observe.opamp.client import ClientProtocol
from llm_observe.opamp.events import (
    ClientEvent,
    Connected,
    Disconnected,
    Malformed,
    ServerErrorReceived,
)
from llm_observe.opamp.io.dialing import asked_delay, is_loopback, reason, websocket_url
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentDescription,
    Components,
    ConfigFile,
    ConfigStatus,
    ErrorKind,
    Health,
    ServerCapabilities,
)

Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
PING_S = 20.0
"""A ping after so many seconds; a line whose pong takes as long again is dead."""

SETTLED_S = 10.0
"""A line that stood this long is restored at once; a shorter one goes on with the backoff."""

# websockets logs headers and frames at debug level; a token must not get there.
_SILENT = logging.Logger("llm_observe.opamp.io.websocket.frames", logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class ClientState:
    """How the connection stands.

    ``since`` (Unix seconds) is when it came up or went down; ``attempts`` counts the vain ones
    since it was last up; ``last_error`` is the newest trouble, kept after it is over.
    """

    connected: bool = False
    since: float = 0.0
    last_error: str = ""
    attempts: int = 0
    server_capabilities: ServerCapabilities = ServerCapabilities(0)  # noqa: RUF009  # immutable


class WebSocketClient:
    """An agent's connection to an OpAMP server, restored for ever until `stop`.

    ``url`` is ws, wss, http or https. ``headers`` may be a function, asked on each dial.
    ``on_event`` is called on the driver's thread; what it raises is logged and dropped.
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
        logger: logging.Logger | None = None,
    ) -> None:
        self.url = websocket_url(url)
        self._protocol = ClientProtocol(
            instance_uid,
            capabilities,
            heartbeat_s=heartbeat_s,
            max_message_bytes=max_message_bytes,
        )
        self._on_event = on_event
        self._headers = headers
        self._ssl_context = ssl_context
        self._ping_s = ping_s
        self._logger = logger or logging.getLogger("llm_observe.opamp")
        # Guards everything below and the protocol; notified when any of it changes.
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._connection: ClientConnection | None = None
        self._stopping = False
        self._state = ClientState(since=time.time())

    # ------------------------------------------------------------------------- the caller's side

    @property
    def instance_uid(self) -> bytes:
        """The uid in use: the given one, or the one that the server assigned."""
        return self._protocol.instance_uid

    @property
    def state(self) -> ClientState:
        """How the connection stands now."""
        with self._condition:
            return replace(self._state, server_capabilities=self._protocol.server_capabilities)

    def start(self) -> None:
        """Begin to dial. Returns at once, and never raises for an absent server.

        A second call does nothing; after `stop` it raises `LocalProtocolError`.
        """
        with self._condition:
            if self._stopping:
                raise LocalProtocolError("a stopped OpAMP client cannot be started again")
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="llm-observe-opamp", daemon=True
                )
                self._thread.start()

    def report(
        self,
        *,
        description: AgentDescription | None = None,
        health: Health | None = None,
        effective_config: Mapping[str, ConfigFile] | None = None,
        config_status: ConfigStatus | None = None,
        components: Components | None = None,
        custom_capabilities: frozenset[str] | None = None,
    ) -> None:
        """Set parts of the status; what changed is sent as soon as a line stands.

        From any thread; never waits for the network. Raises as `ClientProtocol.report`.
        """
        parts = {
            "description": description,
            "health": health,
            "effective_config": effective_config,
            "config_status": config_status,
            "components": components,
            "custom_capabilities": custom_capabilities,
        }
        given = {name: value for name, value in parts.items() if value is not None}
        with self._condition:
            if self._protocol.report(**given):
                self._condition.notify_all()

    def set_capabilities(self, capabilities: AgentCapabilities) -> None:
        """Change what the agent says it can do; it is told at once."""
        with self._condition:
            self._protocol.set_capabilities(capabilities)
            self._condition.notify_all()

    def send_custom(self, capability: str, type_: str, data: bytes) -> None:
        """Queue a custom message. Raises as `ClientProtocol.send_custom`."""
        with self._condition:
            self._protocol.send_custom(capability, type_, data)
            self._condition.notify_all()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Say goodbye, close, and wait for the thread at most ``timeout_s``. Idempotent."""
        with self._condition:
            self._stopping = True
            self._protocol.say_goodbye()
            thread, connection = self._thread, self._connection
            self._condition.notify_all()
        if thread is None or thread is threading.current_thread():
            return
        thread.join(timeout_s)
        if thread.is_alive() and connection is not None:
            with suppress(OSError):  # the peer does not answer: cut the line under it
                connection.socket.shutdown(socket.SHUT_RDWR)

    def after_fork_in_child(self, instance_uid: bytes) -> None:
        """Become another agent with the same truth, in a child that inherited only this object.

        The parent's line is let go without a word on it; if the parent's client ran, this one
        dials for itself.
        """
        ran, connection = self._thread is not None and not self._stopping, self._connection
        if connection is not None:
            connection.socket.close()
        self._condition = threading.Condition()
        self._thread = self._connection = None
        self._protocol = self._protocol.reborn(instance_uid)
        self._state = ClientState(since=time.time())
        if ran:
            self.start()

    # ------------------------------------------------------------------------ the driver's thread

    def _run(self) -> None:
        delays, hint = backoff(random.random), None
        while self._pause(respecting(next(delays), hint, random.random)):
            began = time.monotonic()
            hint = self._session()
            if time.monotonic() - began >= SETTLED_S:
                delays = backoff(random.random)

    def _pause(self, delay_s: float) -> bool:
        """Wait; False as soon as the client is being stopped."""
        with self._condition:
            return not self._condition.wait_for(lambda: self._stopping, delay_s)

    def _session(self) -> float | None:
        """One line from dialling to its end; returns how long the server asked to stay away."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._dial())
            except Exception as error:  # noqa: BLE001  # names, TLS, proxies, the caller's headers
                self._note_failure(reason(error))
                return asked_delay(error, time.time())
            return self._talk(connection) if self._line_up(connection) else None

    def _talk(self, connection: ClientConnection) -> float | None:
        writer = threading.Thread(
            target=self._write, args=(connection,), name="llm-observe-opamp-writer", daemon=True
        )
        try:
            self._emit(Connected())
            writer.start()
            ending, hint = self._read(connection)
        finally:
            self._line_down(connection)
        writer.join(CLOSE_TIMEOUT_S)
        self._note_end(ending)
        return hint

    def _dial(self) -> ClientConnection:
        headers = self._headers() if callable(self._headers) else self._headers
        return connect(
            self.url,
            ssl=self._ssl_context if self.url.startswith("wss:") else None,
            additional_headers=dict(headers),
            user_agent_header="llm-observe-opamp",
            compression=None,
            proxy=None if is_loopback(self.url) else True,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=self._ping_s,
            ping_timeout=self._ping_s,
            max_size=self._protocol.max_message_bytes,
            logger=_SILENT,
        )

    def _line_up(self, connection: ClientConnection) -> bool:
        _limit_unacknowledged(connection, 2 * self._ping_s)
        with self._condition:
            if self._stopping:
                return False
            self._protocol.connected()
            self._connection = connection
            self._state = replace(self._state, connected=True, since=time.time(), attempts=0)
        self._logger.debug("= connected to %s", self.url)
        return True

    def _line_down(self, connection: ClientConnection) -> None:
        with self._condition:
            self._connection = None
            self._protocol.disconnected()
            self._state = replace(self._state, connected=False, since=time.time())
            self._condition.notify_all()
        with suppress(OSError, WebSocketException):
            connection.close()

    def _read(self, connection: ClientConnection) -> tuple[str, float | None]:
        """Hand on what arrives until the line ends: why it did, and how long to stay away."""
        while True:
            try:
                data = connection.recv()
            except (OSError, WebSocketException) as error:
                return reason(error), None
            if isinstance(data, str):  # "MUST be binary"
                self._emit(Malformed("a text frame"))
                connection.close(1003, "OpAMP is binary")
                return "the server sent a text frame", None
            for event in self._receive(data):
                self._emit(event)
                if _must_leave(event):
                    return f"the server is unavailable: {event.message}", event.retry_after_s

    def _receive(self, data: bytes) -> tuple[ClientEvent, ...]:
        if self._logger.isEnabledFor(logging.DEBUG):
            self._log_message("<", data)
        with self._condition:
            received = self._protocol.receive(data)
            self._condition.notify_all()
        return received

    def _emit(self, event: ClientEvent) -> None:
        try:
            self._on_event(event)
        except Exception:  # the caller's fault must not end the conversation
            self._logger.warning("! %s was not handled", type(event).__name__, exc_info=True)

    def _note_failure(self, text: str) -> None:
        with self._condition:
            attempts = self._state.attempts + 1
            self._state = replace(self._state, last_error=text, attempts=attempts)
        self._logger.debug("! %s (attempt %d)", text, attempts)

    def _note_end(self, text: str) -> None:
        with self._condition:
            if not self._stopping:
                self._state = replace(self._state, last_error=text)
        self._logger.debug("= disconnected: %s", text)
        self._emit(Disconnected(text))

    # ------------------------------------------------------------------------ the writer's thread

    def _write(self, connection: ClientConnection) -> None:
        try:
            while (data := self._next_message(connection)) is not None:
                if self._logger.isEnabledFor(logging.DEBUG):
                    self._log_message(">", data)
                connection.send(data)
        except (OSError, WebSocketException):
            return  # the reader learns of it, and dials again
        finally:
            connection.close()

    def _next_message(self, connection: ClientConnection) -> bytes | None:
        """Wait for something to say on this line; None when there is nothing more to come."""
        with self._condition:
            while self._connection is connection:
                now = time.monotonic()
                data = self._protocol.message_to_send(now)
                if data is not None or self._stopping:
                    return data
                deadline = self._protocol.next_deadline(now)
                self._condition.wait(None if deadline is None else max(0.0, deadline - now))
        return None

    def _log_message(self, mark: str, data: bytes) -> None:
        decode = wire.decode_agent if mark == ">" else wire.decode_server
        with suppress(RemoteProtocolError):
            message = decode(data, framed=True)
            self._logger.debug("%s %d bytes: %s", mark, len(data), wire.describe(message))


def _must_leave(event: ClientEvent) -> TypeGuard[ServerErrorReceived]:
    return isinstance(event, ServerErrorReceived) and event.kind is ErrorKind.UNAVAILABLE


def _limit_unacknowledged(connection: ClientConnection, seconds: float) -> None:
    """Bound how long sent bytes may stay unacknowledged: a ping cannot pass a full buffer."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        with suppress(OSError):
            connection.socket.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
