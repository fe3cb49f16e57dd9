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
import zlib

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from llm_observe.testing.otlp_ledger import (
    SUCCESS,
    Answer,
    Ledger,
    ReceivedRequest,
    decoded,
    response,
)
from llm_observe.testing.requests import CutResponse, client_gone

__all__ = ["SUCCESS", "Answer", "OTLPSink", "ReceivedRequest"]

_PROTOBUF = "application/x-protobuf"
_SIGNALS = {"/v1/traces": "traces", "/v1/metrics": "metrics"}


class OTLPSink(Ledger):
    """An ASGI app that takes OTLP/HTTP traces and metrics (protobuf) and keeps them.

    Args:
        limit: Most requests kept; the oldest go first. Counts go on.
        most_bytes: Largest body, before and after decompression; beyond it 413.

    `answer_with` and `then` say how it answers. Everything is safe from any thread.
    """

    def __init__(self, *, limit: int = 10_000, most_bytes: int = 64 * 1024 * 1024) -> None:
        super().__init__(limit)
        self._most_bytes = most_bytes

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
        free = asyncio.Event()
        loop = asyncio.get_running_loop()
        received = self._request(request, raw)
        with self._received(received, lambda: loop.call_soon_threadsafe(free.set)):
            return await self._answered(request, received, free)

    def _request(self, request: Request, raw: bytes) -> ReceivedRequest:
        path = request.url.path
        body = _decompressed(raw, request.headers.get("content-encoding"), self._most_bytes)
        return ReceivedRequest(
            signal=_SIGNALS[path],
            path=path,
            headers=dict(request.headers),
            raw=raw,
            body=raw if body is None else body,
            message=decoded(_SIGNALS[path], body),
            answer=self._next_answer(),
            peer=":".join(map(str, request.client or ())),
        )

    async def _answered(
        self, request: Request, received: ReceivedRequest, free: asyncio.Event
    ) -> Response:
        answer = received.answer
        await asyncio.sleep(answer.delay_s)
        if answer.hang and await _hang(request, free):
            self._left(received)
        if answer.cut:
            return CutResponse()
        if received.message is None and answer == SUCCESS:
            return PlainTextResponse("not an OTLP request", 400)
        return _response(received.signal, answer)


async def _hang(request: Request, free: asyncio.Event) -> bool:
    """Until it is freed; True if the client left before."""
    gone = asyncio.ensure_future(client_gone(request))
    released = asyncio.ensure_future(free.wait())
    try:
        await asyncio.wait({gone, released}, return_when=asyncio.FIRST_COMPLETED)
        return not free.is_set()
    finally:
        gone.cancel()
        released.cancel()


def _response(signal: str, answer: Answer) -> Response:
    headers = {
        "Retry-After": None if answer.retry_after_s is None else str(answer.retry_after_s),
        "Location": answer.location,
    }
    given = {key: value for key, value in headers.items() if value is not None}
    body = response(signal, answer) if answer.status < 300 else b""
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
