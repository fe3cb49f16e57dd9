"""A sink for OTLP over HTTP that records every byte, and misbehaves when told to.

::

    sink = OTLPSink()
    with serve_in_thread(sink) as server:
        ...  # export to server.url
        sink.wait_for(lambda: len(sink.spans()) == 3)

Source: OTLP specification 1.x, "OTLP/HTTP" (paths, content type, status codes, gzip).
"""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from llm_observe.testing.requests import CutResponse, client_gone

_Held = tuple[asyncio.AbstractEventLoop, asyncio.Event]
_PROTOBUF = "application/x-protobuf"
_SIGNALS: dict[str, tuple[type[Message], type[Message]]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a request is answered; the defaults are a success."""

    status: int = 200
    """HTTP status."""

    retry_after_s: int | None = None
    """``Retry-After``, in whole seconds."""

    location: str | None = None
    """``Location``, for a redirect."""

    delay_s: float = 0.0
    """Seconds before the answer."""

    hang: bool = False
    """No answer until `OTLPSink.release`, or until the client goes away."""

    cut: bool = False
    """Close the connection instead of answering."""


SUCCESS = Answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    raw: bytes
    """The body as it was on the wire, compressed or not."""
    body: bytes
    """The body after decompression; the raw one where that failed."""
    message: Message | None
    """The decoded request; None when it is none."""
    answer: Answer
    """How it was answered."""


class OTLPSink:
    """An ASGI app that takes OTLP/HTTP traces and metrics (protobuf) and keeps them.

    Args:
        limit: Most requests kept; the oldest go first. Counts go on.
        most_bytes: Largest body, before and after decompression; beyond it 413.

    `answer_with` and `then` say how it answers. Everything is safe from any thread.
    """

    def __init__(self, *, limit: int = 10_000, most_bytes: int = 64 * 1024 * 1024) -> None:
        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._requests: deque[ReceivedRequest] = deque(maxlen=limit)
        self._count = 0
        self._standing = SUCCESS
        self._next: deque[Answer] = deque()
        self._waiting: set[_Held] = set()
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
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    @property
    def count(self) -> int:
        """Requests so far, hanging ones included."""
        return self._count

    @property
    def in_flight(self) -> int:
        """Requests that have come and are not answered yet."""
        return self._in_flight

    def requests(self, path: str | None = None) -> list[ReceivedRequest]:
        """The requests so far, oldest first, all or of one path (``/v1/traces``)."""
        with self._changed:
            return [each for each in self._requests if path in (None, each.path)]

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

    def _messages(self, kind: type[Any]) -> list[Any]:
        return [
            each.message
            for each in self.requests()
            if isinstance(each.message, kind) and 200 <= each.answer.status < 300
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = request.url.path
        if path not in _SIGNALS or request.method != "POST":
            return PlainTextResponse("no such signal", 404)
        raw = await _read(request, self._most_bytes)
        if raw is None:
            return PlainTextResponse("too large", 413)
        received, held = self._record(request, raw)
        try:
            return await self._answered(request, received, held)
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def _record(self, request: Request, raw: bytes) -> tuple[ReceivedRequest, _Held]:
        answer = self._next.popleft() if self._next else self._standing
        body = _decompressed(raw, request.headers.get("content-encoding"), self._most_bytes)
        received = ReceivedRequest(
            path=request.url.path,
            headers=dict(request.headers),
            raw=raw,
            body=raw if body is None else body,
            message=_decoded(request.url.path, body),
            answer=answer,
        )
        held = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            self._requests.append(received)
            self._count += 1
            self._in_flight += 1
            if answer.hang:
                self._waiting.add(held)
            self._changed.notify_all()
        return received, held

    async def _answered(self, request: Request, received: ReceivedRequest, held: _Held) -> Response:
        answer = received.answer
        await asyncio.sleep(answer.delay_s)
        if answer.hang:
            await self._hang(request, held)
        if answer.cut:
            return CutResponse()
        if received.message is None and answer == SUCCESS:
            return PlainTextResponse("not an OTLP request", 400)
        return _response(received.path, answer)

    async def _hang(self, request: Request, held: _Held) -> None:
        gone = asyncio.ensure_future(client_gone(request))
        free = asyncio.ensure_future(held[1].wait())
        try:
            await asyncio.wait({gone, free}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            free.cancel()
            with self._changed:
                self._waiting.discard(held)


def _response(path: str, answer: Answer) -> Response:
    headers = {
        "Retry-After": None if answer.retry_after_s is None else str(answer.retry_after_s),
        "Location": answer.location,
    }
    given = {key: value for key, value in headers.items() if value is not None}
    body = _SIGNALS[path][1]().SerializeToString() if answer.status < 300 else b""
    return Response(body, answer.status, given, media_type=_PROTOBUF)


async def _read(request: Request, most_bytes: int) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            return None
    return bytes(body)


def _decompressed(raw: bytes, encoding: str | None, most_bytes: int) -> bytes | None:
    """The body without its compression; None when it is broken or too large."""
    if encoding in (None, "", "identity"):
        return raw
    window = {"gzip": 31, "deflate": 15}.get(encoding)
    if window is None:
        return None
    unpacker = zlib.decompressobj(window)
    try:
        body = unpacker.decompress(raw, most_bytes)
    except zlib.error:
        return None
    return body if unpacker.eof else None


def _decoded(path: str, body: bytes | None) -> Message | None:
    if body is None:
        return None
    message = _SIGNALS[path][0]()
    try:
        message.ParseFromString(body)
    except DecodeError:
        return None
    return message
