"""Drives a `ClientProtocol` over plain HTTP, on threads of its own.

Two threads. The *driver's thread* calls ``on_event``; the *poller* sends one request at a time:
at once where there is something to say, and otherwise when the polling interval has passed, so
that a slow ``on_event`` holds up neither reports nor polls. What the statuses mean is told in
`llm_observe.opamp.io.posting`.

A request that failed without an answer is sent again as it was, number and all, for the server
may have processed it; one that certainly did not arrive is composed anew under the same number.
"""

from __future__ import annotations

import logging
import queue
import ssl
import time
from collections.abc import Callable
from contextlib import nullcontext

from llm_observe.opamp import wire
from llm_observe.opamp.client import ClientProtocol
from llm_observe.opamp.events import ClientEvent, Malformed, ServerErrorReceived
from llm_observe.opamp.io.driver import Around, ClientState, Driver, Headers
from llm_observe.opamp.io.posting import BUSY_S, Failed, Fate, Poster
from llm_observe.opamp.values import AgentCapabilities, ErrorKind

__all__ = ["ClientState", "PollingClient"]

INTERVAL_S = 30.0
"""The polling interval unless set or offered otherwise (OpAMP, "Plain HTTP Transport")."""

GOODBYE_S = 5.0
"""How long goodbye may take where the client goes over to another line."""

MAX_UNHANDLED = 100
"""Events that may wait for ``on_event`` before no more requests are made."""


class PollingClient(Driver):
    """An agent that polls an OpAMP server over plain HTTP until `stop`.

    ``url`` is http, https, ws or wss; a missing path is ``/v1/opamp``. ``interval_s`` (seconds)
    is how often it polls when there is nothing to say, until the server offers another interval.
    ``headers`` may be a function, asked for each request. ``on_event`` is called on the driver's
    thread; what it raises is logged and dropped. ``around`` makes a context manager that each
    thread of the client works in.
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
        interval_s: float = INTERVAL_S,
        max_message_bytes: int = wire.MAX_MESSAGE_BYTES,
        around: Around = nullcontext,
        logger: logging.Logger | None = None,
    ) -> None:
        if interval_s <= 0:
            raise ValueError("a polling interval is longer than 0 seconds")
        transport = PollingTransport(
            Poster(
                url,
                headers=headers,
                ssl_context=ssl_context,
                max_message_bytes=max_message_bytes,
            )
        )
        protocol = ClientProtocol(
            instance_uid,
            capabilities,
            heartbeat_s=interval_s,
            framed=False,
            max_message_bytes=max_message_bytes,
        )
        self.url = transport.poster.url
        super().__init__(transport, protocol, on_event, around=around, logger=logger)

    @property
    def interval_s(self) -> float:
        """The polling interval in force, in seconds."""
        return self.protocol.interval_s


class PollingTransport:
    """The line of a driver, if it is a series of requests; it ends with the first that fails."""

    framed = False

    def __init__(self, poster: Poster) -> None:
        self.poster = poster
        # Sent without an answer: nothing else may go out before it.
        self._pending: bytes | None = None

    def session(self, driver: Driver) -> float | None:
        """Send requests until one fails."""
        series = _Series(self.poster, driver, self._pending)
        hint = series.run()
        self._pending = series.pending
        return hint

    def cut(self) -> None:
        """Nothing: a request under way has a deadline, and none is made after it."""

    def let_go(self) -> None:
        """The parent keeps its connection."""
        self.poster.let_go()
        self._pending = None


class _Series:
    """Requests one after the other, until one fails or the client stops."""

    def __init__(self, poster: Poster, driver: Driver, pending: bytes | None) -> None:
        self.pending = pending
        self._poster = poster
        self._driver = driver
        # From the poller to the driver's thread; None is the last item.
        self._happened: queue.SimpleQueue[ClientEvent | None] = queue.SimpleQueue()
        self._up = False
        self._failed: Failed | None = None

    def run(self) -> float | None:
        """On the driver's thread: hand on events while the poller works; the server's hint."""
        driver = self._driver
        if self.pending is None and not driver.open_line():
            return None
        poller = driver.thread(self._poll, "llm-observe-opamp-poller")
        poller.start()
        while (event := self._happened.get()) is not None:
            driver.emit(event)
            with driver.condition:
                driver.condition.notify_all()  # there is room for another
        return self._ended()

    def _ended(self) -> float | None:
        failed = self._failed or Failed("the agent disconnected", Fate.UNSENT)
        if self._up:
            self._driver.note_end(failed.text)
        else:
            self._driver.note_failure(failed.text)
        return failed.retry_after_s

    # ------------------------------------------------------------------------ the poller's thread

    def _poll(self) -> None:
        try:
            while self._failed is None and (data := self._next_request()) is not None:
                self._send(data)
        finally:
            if self._driver.leaving:
                self._poster.close()
            self._happened.put(None)

    def _next_request(self) -> bytes | None:
        """Wait for something to say; None when there is nothing more to come."""
        driver, protocol = self._driver, self._driver.protocol
        with driver.condition:
            if self.pending is not None and not driver.leaving:
                return self.pending
            if self.pending is not None:  # goodbye carries what it said
                self.pending = None
                protocol.lost()
            while protocol.on_line:
                now = time.monotonic()
                data = protocol.message_to_send(now) if self._may_speak() else None
                if data is not None:
                    return data
                deadline = protocol.next_deadline(now) if self._may_speak() else None
                driver.condition.wait(None if deadline is None else max(0.0, deadline - now))
        return None

    def _may_speak(self) -> bool:
        return self._driver.leaving or self._happened.qsize() < MAX_UNHANDLED

    def _send(self, data: bytes) -> None:
        driver = self._driver
        driver.log_message(">", data)
        try:
            body = self._poster.post(driver.protocol.instance_uid, data, within_s=self._time_left())
        except Failed as failed:
            if failed.fate is Fate.REFUSED:
                self._refused(failed.text)
            else:
                self._end(failed, data)
        else:
            self._answered(data, body)

    def _time_left(self) -> float | None:
        """How long a last message may take; any other may take its time."""
        if self._driver.stopping:
            return max(0.001, self._driver.stop_by - time.monotonic())
        return GOODBYE_S if self._driver.moving else None

    def _answered(self, data: bytes, body: bytes) -> None:
        self.pending = None
        happened = self._driver.receive(body)
        if self._driver.protocol.unanswered:
            self._end(Failed(f"the server's answer: {_told(happened)}", Fate.UNKNOWN), data)
        elif not self._up:
            self._up = True
            self._happened.put(self._driver.line_works())
        for event in happened:
            self._happened.put(event)
            if isinstance(event, ServerErrorReceived) and event.kind is ErrorKind.UNAVAILABLE:
                hint = BUSY_S if event.retry_after_s is None else event.retry_after_s
                self._end(Failed(f"the server is unavailable: {event.message}", Fate.UNSENT, hint))

    def _refused(self, text: str) -> None:
        """The conversation goes on, without what this message carried."""
        self.pending = None
        with self._driver.condition:
            self._driver.protocol.refused()
        self._driver.note_failure(text)
        self._happened.put(ServerErrorReceived(ErrorKind.BAD_REQUEST, text))

    def _end(self, failed: Failed, data: bytes | None = None) -> None:
        """Leave it there until the next series; the very same message may have to go first."""
        self._failed = failed
        self.pending = data if failed.fate is Fate.UNKNOWN else None
        if self.pending is None:
            with self._driver.condition:
                self._driver.protocol.unsent()


def _told(happened: tuple[ClientEvent, ...]) -> str:
    return next((event.reason for event in happened if isinstance(event, Malformed)), "empty")
