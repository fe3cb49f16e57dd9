"""OTLP/HTTP into the span store: POST /v1/traces and /v1/metrics, protobuf or JSON, gzip or not.

200 is said after COMMIT, so what was acknowledged is kept. Refusals follow the OTLP
specification ("OTLP/HTTP Response"): rows that cannot be stored are counted in
``partial_success``; errors are a ``google.rpc.Status`` in the request's encoding; only 429, 502,
503 and 504 tell the sender to try again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from starlette.types import Receive, Scope, Send

from llm_observe.errors import StoreError
from llm_observe.spanstore import wire
from llm_observe.spanstore.model import (
    MalformedTelemetry,
    MetricRow,
    Receipt,
    SpanRow,
    StoreBusy,
    Writing,
)
from llm_observe.spanstore.otlp import decode_metrics, decode_traces

logger = logging.getLogger(__name__)

Headers = Mapping[str, str]
Authorize = Callable[[Headers], Awaitable[int | None]]

_ENCODINGS = {"": 0, "identity": 0, "gzip": 31, "deflate": 47}  # zlib's wbits
_TYPES = (wire.PROTOBUF, wire.JSON)
# HTTP status → google.rpc.Code
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 408: 4, 413: 3, 415: 3, 429: 8, 503: 14}
_SENTENCES = {
    401: "a token is needed: set LLM_OBSERVE_TOKEN to an ingest token of this control plane",
    403: "this token does not allow sending telemetry",
    503: "the token cannot be checked at the moment",
}


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Bounds of one request: bytes on the wire, bytes unpacked, seconds to read and to commit.

    ``held_bytes`` bounds the bodies of all requests that are being read or stored at one time.
    """

    body_bytes: int = 16 * 1024 * 1024
    unpacked_bytes: int = 64 * 1024 * 1024
    held_bytes: int = 128 * 1024 * 1024
    read_s: float = 30.0
    commit_s: float = 30.0


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What one request holds, and how its answer is made."""

    spans: Sequence[SpanRow]
    points: Sequence[MetricRow]
    refused: int
    reason: str
    respond: Callable[[int, str], Message]

    def answer(self, receipt: Receipt) -> Message:
        return self.respond(self.refused + receipt.points_refused, self.reason or receipt.reason)


class _Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, sentence: str, retry_after_s: float | None = None) -> None:
        self.status, self.sentence, self.retry_after_s = status, sentence, retry_after_s
        super().__init__(status, sentence)


class _Disconnected(Exception):
    """The sender went away before its body was complete."""


class IntakeApp:
    """The ASGI app. ``authorize`` gets the headers (names in lower case), returns None or a status.

    It is asked before the body is read. ``on_commit`` is called on the event loop after each
    COMMIT that stored something new. The app may be mounted below a prefix.
    """

    def __init__(
        self,
        store: Writing,
        authorize: Authorize,
        on_commit: Callable[[], None],
        limits: IntakeLimits | None = None,
    ) -> None:
        self._store, self._authorize, self._on_commit = store, authorize, on_commit
        self._limits = limits or IntakeLimits()
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a connection of another kind is not for this app."""
        if scope["type"] != "http":
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        try:
            message, status, more = await self._handle(scope, headers, receive), 200, {}
        except _Refusal as refusal:
            message = Status(code=_CODES.get(refusal.status, 2), message=refusal.sentence)
            status, more = refusal.status, _extra_headers(refusal)
        except _Disconnected:
            return
        await _reply(send, status, message, headers.get("content-type", ""), more)

    async def _handle(self, scope: Scope, headers: Headers, receive: Receive) -> Message:
        decode = _route(scope)
        status = await self._authorize(headers)
        if status is not None:
            raise _Refusal(status, _SENTENCES.get(status, "refused"), 5 if status == 503 else None)
        wbits = _check_headers(headers, self._limits.body_bytes)
        held = _Held(self)
        try:
            packed = await self._read(receive, held)
            limit, content_type = self._limits.unpacked_bytes, headers.get("content-type", "")
            decoded = await asyncio.to_thread(_open, decode, packed, wbits, limit, content_type)
            return decoded.answer(await self._commit(decoded))
        finally:
            held.release()

    async def _read(self, receive: Receive, held: _Held) -> bytes:
        try:
            async with asyncio.timeout(self._limits.read_s):
                return await _body(receive, self._limits.body_bytes, held)
        except TimeoutError:
            seconds = f"{self._limits.read_s:g}"
            raise _Refusal(408, f"the body did not arrive within {seconds} s") from None

    async def _commit(self, decoded: _Decoded) -> Receipt:
        if not decoded.spans and not decoded.points:
            return Receipt()
        try:
            async with asyncio.timeout(self._limits.commit_s):
                receipt = await asyncio.wrap_future(
                    self._store.append(decoded.spans, decoded.points)
                )
        except StoreBusy as error:
            raise _Refusal(503, str(error), error.retry_after_s) from error
        except (StoreError, TimeoutError) as error:
            logger.warning("telemetry was not stored: %s", str(error) or "the store took too long")
            raise _Refusal(503, "the span store cannot write at the moment", 5) from error
        if receipt.spans or receipt.points:
            self._on_commit()
        return receipt

    def hold(self, size: int) -> None:
        """Book bytes of a body; called by the bodies themselves."""
        if self._held + size > self._limits.held_bytes:
            raise _Refusal(503, "too many requests are being stored at this moment", 1)
        self._held += size

    def let_go(self, size: int) -> None:
        """Take a booking back."""
        self._held -= size


class _Held:
    """The bytes of one request that are booked, so that they are given back exactly once."""

    def __init__(self, app: IntakeApp) -> None:
        self._app, self.size = app, 0

    def add(self, size: int) -> None:
        self._app.hold(size)
        self.size += size

    def release(self) -> None:
        self._app.let_go(self.size)
        self.size = 0


async def _body(receive: Receive, limit: int, held: _Held) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        chunk = message.get("body", b"")
        if len(body) + len(chunk) > limit:
            raise _too_large(limit)
        held.add(len(chunk))
        body += chunk
        if not message.get("more_body", False):
            return bytes(body)


def _route(scope: Scope) -> Callable[[bytes, str], _Decoded]:
    path = scope["path"].rstrip("/")
    decode = next((_SIGNALS[end] for end in _SIGNALS if path.endswith(end)), None)
    if decode is None:
        raise _Refusal(404, f"telemetry goes to {' or '.join(_SIGNALS)}")
    if scope["method"] != "POST":
        raise _Refusal(405, "telemetry is sent with POST")
    return decode


def _check_headers(headers: Headers, limit: int) -> int:
    """Media type, encoding and announced size; returns zlib's ``wbits``, 0 for none."""
    if wire.media_type(headers.get("content-type", "")) not in _TYPES:
        raise _Refusal(415, f"the content type must be {' or '.join(_TYPES)}")
    wbits = _ENCODINGS.get(headers.get("content-encoding", "").strip().lower())
    if wbits is None:
        raise _Refusal(415, "the content encoding must be gzip, deflate or none")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        raise _too_large(limit)
    return wbits


def _too_large(limit: int) -> _Refusal:
    return _Refusal(413, f"a request may hold {limit} bytes")


def _open(
    decode: Callable[[bytes, str], _Decoded],
    packed: bytes,
    wbits: int,
    limit: int,
    content_type: str,
) -> _Decoded:
    """Unpack and decode; on a thread, for it is all computation."""
    try:
        return decode(_unpack(packed, wbits, limit) if wbits else packed, content_type)
    except zlib.error as error:
        raise _Refusal(400, f"the body is not what its content encoding says: {error}") from error
    except MalformedTelemetry as error:
        raise _Refusal(400, str(error)) from error


def _unpack(packed: bytes, wbits: int, limit: int) -> bytes:
    """All members of a gzip body, never more than ``limit`` bytes."""
    body = bytearray()
    while packed:
        stream = zlib.decompressobj(wbits)
        body += stream.decompress(packed, limit + 1 - len(body))
        if len(body) > limit:
            raise _Refusal(413, f"a request may hold {limit} bytes after unpacking")
        if not stream.eof:
            raise _Refusal(400, "the compressed body is cut off")
        packed = stream.unused_data
    return bytes(body)


def _traces(body: bytes, content_type: str) -> _Decoded:
    batch = decode_traces(body, content_type)
    return _Decoded(batch, (), batch.refused, batch.reason, _traces_response)


def _metrics(body: bytes, content_type: str) -> _Decoded:
    batch = decode_metrics(body, content_type)
    return _Decoded((), batch, batch.refused, batch.reason, _metrics_response)


def _traces_response(refused: int, reason: str) -> Message:
    response = trace_pb.ExportTraceServiceResponse()
    if refused:
        response.partial_success.rejected_spans = refused
        response.partial_success.error_message = reason
    return response


def _metrics_response(refused: int, reason: str) -> Message:
    response = metrics_pb.ExportMetricsServiceResponse()
    if refused:
        response.partial_success.rejected_data_points = refused
        response.partial_success.error_message = reason
    return response


def _extra_headers(refusal: _Refusal) -> dict[str, str]:
    more = {}
    if refusal.retry_after_s is not None:
        more["retry-after"] = str(max(1, math.ceil(refusal.retry_after_s)))
    if refusal.status == 401:
        more["www-authenticate"] = "Bearer"
    if refusal.status == 405:
        more["allow"] = "POST"
    return more


async def _reply(
    send: Send, status: int, message: Message, content_type: str, more: Mapping[str, str]
) -> None:
    encoding = wire.JSON if wire.media_type(content_type) == wire.JSON else wire.PROTOBUF
    body = wire.encode(message, encoding)
    headers = {"content-type": encoding, "content-length": str(len(body)), **more}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


_SIGNALS: dict[str, Callable[[bytes, str], _Decoded]] = {
    "/v1/traces": _traces,
    "/v1/metrics": _metrics,
}
