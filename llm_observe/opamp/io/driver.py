"""What both drivers of a `ClientProtocol` have in common: the caller's side, and the rhythm.

A driver has one thread of its own and a *transport*, which holds one line at a time: a WebSocket,
or a series of HTTP requests. The driver's thread opens a line, hands on what happens on it, and
when it has ended waits and opens the next. One condition guards the protocol; it is never held
while the network or the caller's code runs.

Log lines, at debug level, carry a direction: ``>`` sent, ``<`` received, ``=`` state, ``!``
trouble. They name fields, never contents.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

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
from llm_observe.opamp.io.reporting import Reporting
from llm_observe.opamp.values import ServerCapabilities

Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]
Around = Callable[[], AbstractContextManager[object]]

SETTLED_S = 10.0
"""A line that stood this long is restored at once; a shorter one goes on with the backoff."""


@dataclass(frozen=True, slots=True)
class ClientState:
    """How the connection stands; over plain HTTP: how the newest request ended.

    ``since`` (Unix seconds) is when it came up or went down; ``attempts`` counts the vain ones
    since it was last up; ``last_error`` is the newest trouble, kept after it is over.
    """

    connected: bool = False
    since: float = 0.0
    last_error: str = ""
    attempts: int = 0
    server_capabilities: ServerCapabilities = ServerCapabilities(0)  # noqa: RUF009  # immutable


class Transport(Protocol):
    """One line at a time, on behalf of a `Driver`."""

    @property
    def framed(self) -> bool:
        """True over WebSocket."""

    def session(self, driver: Driver) -> float | None:
        """Open a line and serve it until it ends; how long the server asked to stay away.

        On the driver's thread, and never raises.
        """

    def cut(self) -> None:
        """Time is up: end the line without another word. From any thread."""

    def let_go(self) -> None:
        """In the child of a fork: drop what belongs to the parent, silently."""


class Driver(Reporting):
    """An agent's conversation with an OpAMP server, kept up until `stop`.

    Also a context manager: ``with client:`` starts and stops it.
    """

    def __init__(
        self,
        transport: Transport,
        protocol: ClientProtocol,
        on_event: Callable[[ClientEvent], None],
        *,
        around: Around = nullcontext,
        logger: logging.Logger | None = None,
    ) -> None:
        self.protocol = protocol
        self.logger = logger or logging.getLogger("llm_observe.opamp")
        # Guards everything below and the protocol; notified when any of it changes.
        self.condition = threading.Condition()
        self.stopping = False
        # On the monotonic clock: when the one who called `stop` no longer waits.
        self.stop_by = 0.0
        self._transport = transport
        self._next: Transport | None = None
        self._on_event = on_event
        self._around = around
        self._thread: threading.Thread | None = None
        self._state = ClientState(since=time.time())

    # ------------------------------------------------------------------------- the caller's side

    @property
    def state(self) -> ClientState:
        """How the connection stands now."""
        with self.condition:
            return replace(self._state, server_capabilities=self.protocol.server_capabilities)

    def start(self) -> None:
        """Begin to connect. Returns at once, and never raises for an absent server.

        A second call does nothing; after `stop` it raises `LocalProtocolError`.
        """
        with self.condition:
            if self.stopping:
                raise LocalProtocolError("a stopped OpAMP client cannot be started again")
            if self._thread is None:
                self._thread = self.thread(self._run, "llm-observe-opamp")
                self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Say goodbye, close, and wait for the thread at most ``timeout_s``. Idempotent."""
        with self.condition:
            self.stopping = True
            self.stop_by = time.monotonic() + timeout_s
            self.protocol.say_goodbye()
            thread = self._thread
            self.condition.notify_all()
        if thread is None or thread is threading.current_thread():
            return
        thread.join(timeout_s)
        if thread.is_alive():
            self._transport.cut()

    def let_go(self) -> None:
        """In the child of a fork that makes a client of its own: give up this one.

        The parent's line is let go without a word on it. Takes no lock; this object is of no use
        afterwards.
        """
        self._transport.let_go()

    def after_fork_in_child(self, instance_uid: bytes) -> None:
        """Become another agent with the same truth, in a child that inherited only this object.

        The parent's line is let go without a word on it; if the parent's client ran, this one
        connects for itself.
        """
        ran = self._thread is not None and not self.stopping
        self._transport.let_go()
        self.condition = threading.Condition()
        self._thread = self._next = None
        self.protocol = self.protocol.reborn(instance_uid)
        self._state = ClientState(since=time.time())
        if ran:
            self.start()

    # ------------------------------------------------------------------------ the driver's thread

    def _run(self) -> None:
        delays, hint = backoff(random.random), None
        while self._pause(respecting(next(delays), hint, random.random)):
            if self.take_next():
                delays = backoff(random.random)
                next(delays)
            began = time.monotonic()
            hint = self._session()
            if time.monotonic() - began >= SETTLED_S:
                delays = backoff(random.random)

    def _session(self) -> float | None:
        try:
            return self._transport.session(self)
        except Exception:  # a fault of ours must not end the client for good
            self.logger.warning("! a line ended by a fault", exc_info=True)
            self.line_down()
            self.note_failure("an internal fault")
            return None

    def _pause(self, delay_s: float) -> bool:
        """Wait; False as soon as the client is being stopped."""
        with self.condition:
            self.condition.wait_for(lambda: self.leaving, delay_s)
            return not self.stopping

    def take_next(self) -> bool:
        """Go over to the line that was asked for; another server may know nothing of this agent."""
        with self.condition:
            if self._next is None:
                return False
            self._transport, self._next = self._next, None
            self.protocol.forget_server()
            return True

    # ------------------------------------------------------------------- for a client that may move

    @property
    def moving(self) -> bool:
        """Whether another line was asked for and is not in use yet."""
        return self._next is not None

    def move(self, transport: Transport) -> None:
        """Go on over another line: say goodbye on the one that stands, and close it first.

        "The Agent MUST disconnect before it connects anew" (OpAMP, "Duplicate WebSocket
        Connections"). Nothing of the state is lost.
        """
        with self.condition:
            self._next = transport
            self.protocol.leave_line()
            self.condition.notify_all()

    def answered(self) -> None:
        """The server on this line gave a proper answer."""

    def session_ended(self, trouble: str) -> None:
        """A line ended, or could not be opened."""

    # -------------------------------------------------------------------------- for the transport

    def thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        """A thread that works inside what the caller wants around it."""

        def work() -> None:
            with self._around():
                target()

        return threading.Thread(target=work, name=name, daemon=True)

    @property
    def leaving(self) -> bool:
        """Whether the line in use is to be given up."""
        return self.stopping or self.moving

    def open_line(self) -> bool:
        """A line can be written to; False if it is not wanted any more."""
        with self.condition:
            if not self.leaving:
                self.protocol.connected(framed=self._transport.framed)
            return not self.leaving

    def line_works(self) -> Connected:
        """The server is there: the event to hand on."""
        with self.condition:
            self._state = replace(self._state, connected=True, since=time.time(), attempts=0)
        self.logger.debug("= connected")
        return Connected()

    def line_down(self) -> None:
        """The line is gone, and what was not acknowledged is due again."""
        with self.condition:
            self.protocol.disconnected()
            self.condition.notify_all()

    def note_failure(self, text: str) -> None:
        """A line could not be opened, or a message not delivered."""
        with self.condition:
            attempts = self._state.attempts + 1
            self._state = replace(self._state, last_error=text, attempts=attempts)
        self.logger.debug("! %s (attempt %d)", text, attempts)
        self.session_ended(text)

    def note_end(self, text: str) -> None:
        """A line that stood has ended."""
        with self.condition:
            trouble = self._state.last_error if self.stopping else text
            self._state = replace(
                self._state, connected=False, since=time.time(), last_error=trouble
            )
        self.logger.debug("= disconnected: %s", text)
        self.emit(Disconnected(text))
        self.session_ended(text)

    def receive(self, data: bytes) -> tuple[ClientEvent, ...]:
        """What a message from the server says."""
        self.log_message("<", data)
        with self.condition:
            received = self.protocol.receive(data)
            self.condition.notify_all()
        if not any(isinstance(event, Malformed | ServerErrorReceived) for event in received):
            self.answered()
        return received

    def emit(self, event: ClientEvent) -> None:
        """Hand an event on. What the caller raises is logged and dropped."""
        try:
            self._on_event(event)
        except Exception:  # the caller's fault must not end the conversation
            self.logger.warning("! %s was not handled", type(event).__name__, exc_info=True)

    def log_message(self, mark: str, data: bytes) -> None:
        """Name what a message carries, where anybody wants to know."""
        if not self.logger.isEnabledFor(logging.DEBUG):
            return
        decode = wire.decode_agent if mark == ">" else wire.decode_server
        with suppress(RemoteProtocolError):
            message = decode(data, framed=self.protocol.framed)
            self.logger.debug("%s %d bytes: %s", mark, len(data), wire.describe(message))
