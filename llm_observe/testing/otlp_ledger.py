"""What an OTLP sink keeps, and how it is told to answer: the same over HTTP and gRPC."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_REQUESTS: dict[str, type[Message]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a request is answered; the defaults are a success."""

    status: int = 200
    """HTTP status. Over gRPC the code that stands for it, where `code` names none."""

    code: str = ""
    """gRPC status code by name, such as ``UNAVAILABLE``. Over HTTP without effect."""

    retry_after_s: int | None = None
    """Whole seconds: HTTP's ``Retry-After``, gRPC's ``RetryInfo``."""

    rejected: int = 0
    """Spans or points that a success refuses all the same (OTLP, "Partial Success")."""

    location: str | None = None
    """``Location``, for a redirect. Over gRPC without effect."""

    delay_s: float = 0.0
    """Seconds before the answer."""

    hang: bool = False
    """No answer until the sink's ``release``, or until the client goes away."""

    cut: bool = False
    """Close the connection (gRPC: cancel the call) instead of answering."""

    @property
    def accepts(self) -> bool:
        """Whether the client is told that its data arrived."""
        return 200 <= self.status < 300 and self.code in ("", "OK") and not self.cut


SUCCESS = Answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One request as it came."""

    signal: str
    """``traces`` or ``metrics``."""
    path: str
    """URL path; over gRPC the method's full name."""
    headers: Mapping[str, str]
    """Headers, or gRPC's metadata. Names in lower case."""
    raw: bytes
    """The body as it was on the wire, compressed or not; gRPC shows only what it held."""
    body: bytes
    """The body after decompression; the raw one where that failed."""
    message: Message | None
    """The decoded request; None when it is none."""
    answer: Answer
    """How it was answered; ``cut`` too where the client left before."""
    peer: str = ""
    """Address and port of the client."""


class Ledger:
    """The records of a sink. Everything is safe from any thread.

    `answer_with` and `then` say how it answers. ``limit``: most requests kept; the oldest go
    first, counts go on.
    """

    def __init__(self, limit: int) -> None:
        self._changed = threading.Condition()
        self._requests: deque[ReceivedRequest] = deque(maxlen=limit)
        self._count = 0
        self._standing = SUCCESS
        self._next: deque[Answer] = deque()
        self._waiting: set[Callable[[], object]] = set()
        self._in_flight = 0

    def answer_with(self, answer: Answer) -> None:
        """Answer so from now on (after what `then` still holds)."""
        self._standing = answer

    def then(self, *answers: Answer) -> None:
        """Answer the coming requests so, one each, before falling back to `answer_with`."""
        self._next.extend(answers)

    def release(self) -> None:
        """Let all hanging requests be answered, with their status."""
        with self._changed:
            waiting = list(self._waiting)
        for free in waiting:
            free()

    @property
    def count(self) -> int:
        """Requests so far, hanging ones included."""
        return self._count

    @property
    def in_flight(self) -> int:
        """Requests that have come and are not answered yet."""
        return self._in_flight

    def requests(self, which: str | None = None) -> list[ReceivedRequest]:
        """The requests so far, oldest first: all, or those of a signal or path."""
        with self._changed:
            return [each for each in self._requests if which in (None, each.signal, each.path)]

    def spans(self) -> list[Span]:
        """Every span of the requests that were answered with success."""
        return [
            span
            for message in self._messages(ExportTraceServiceRequest)
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self) -> list[Metric]:
        """Every metric of the requests that were answered with success."""
        return [
            metric
            for message in self._messages(ExportMetricsServiceRequest)
            for resource in message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def holds(self, text: str | bytes) -> bool:
        """True when any request, answered or not, holds these bytes in body or headers."""
        wanted = text.encode() if isinstance(text, str) else text
        return any(
            wanted in each.raw
            or wanted in each.body
            or any(wanted in value.encode() for value in each.headers.values())
            for each in self.requests()
        )

    def clear(self) -> None:
        """Forget the requests kept so far; `count` goes on."""
        with self._changed:
            self._requests.clear()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
        """Wait until the condition holds, looked at after each request.

        Returns:
            Whether it came to hold within `timeout_s` seconds.
        """
        until = time.monotonic() + timeout_s
        with self._changed:
            while not (held := condition()) and (left := until - time.monotonic()) > 0:
                self._changed.wait(min(0.1, left))
            return held

    # -- for the sinks -------------------------------------------------------------------------

    def _next_answer(self) -> Answer:
        with self._changed:
            return self._next.popleft() if self._next else self._standing

    @contextmanager
    def _received(self, request: ReceivedRequest, free: Callable[[], object]) -> Iterator[None]:
        """Keep a request, in flight until the block's end; ``free`` ends its hanging."""
        with self._changed:
            self._requests.append(request)
            self._count += 1
            self._in_flight += 1
            if request.answer.hang:
                self._waiting.add(free)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._waiting.discard(free)
                self._in_flight -= 1
                self._changed.notify_all()

    def _left(self, request: ReceivedRequest) -> None:
        """Its client has gone without an answer."""
        with self._changed:
            for index, each in enumerate(self._requests):
                if each is request:
                    gone = replace(request.answer, cut=True)
                    self._requests[index] = replace(request, answer=gone)
                    return

    def _messages(self, kind: type[Any]) -> list[Any]:
        return [
            each.message
            for each in self.requests()
            if isinstance(each.message, kind) and each.answer.accepts
        ]


def decoded(signal: str, body: bytes | None) -> Message | None:
    """The request in a body; None when it is none."""
    if body is None:
        return None
    message = _REQUESTS[signal]()
    try:
        message.ParseFromString(body)
    except DecodeError:
        return None
    return message


def response(signal: str, answer: Answer) -> bytes:
    """The body of a success."""
    if signal == "traces":
        spans = ExportTraceServiceResponse()
        if answer.rejected:
            spans.partial_success.rejected_spans = answer.rejected
        return spans.SerializeToString()
    points = ExportMetricsServiceResponse()
    if answer.rejected:
        points.partial_success.rejected_data_points = answer.rejected
    return points.SerializeToString()
