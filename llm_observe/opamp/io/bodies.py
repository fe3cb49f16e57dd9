"""Bodies of HTTP requests and responses: size limits that hold after inflation, gzip both ways."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator

from llm_observe.errors import MalformedMessage, MessageTooLarge

WORTH_COMPRESSING = 512
"""Bytes below which a response goes out as it is."""

_GZIP = 16 + zlib.MAX_WBITS


class Inflater:
    """Collects a body chunk by chunk, gzip or as it is, never more than ``limit`` bytes of it.

    Raises `MessageTooLarge` as soon as the limit is passed, and `MalformedMessage` for what is
    no gzip stream.
    """

    def __init__(self, *, gzipped: bool, limit: int) -> None:
        self._stream = zlib.decompressobj(_GZIP) if gzipped else None
        self._limit = limit
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take in some bytes as they came."""
        self._body += chunk if self._stream is None else self._inflate(self._stream, chunk)
        if len(self._body) > self._limit:
            raise MessageTooLarge(len(self._body), self._limit)

    def _inflate(self, stream: zlib._Decompress, chunk: bytes) -> bytes:
        if stream.eof and chunk:
            raise MalformedMessage("bytes after the end of the gzip stream")
        room = self._limit - len(self._body) + 1  # one byte more is enough to know
        try:
            inflated = stream.decompress(chunk, room)
        except zlib.error:
            raise MalformedMessage("not a gzip stream") from None
        if stream.unused_data:
            raise MalformedMessage("bytes after the end of the gzip stream")
        return inflated

    def finish(self) -> bytes:
        """The whole body."""
        if self._stream is not None and not self._stream.eof:
            raise MalformedMessage("the gzip stream is cut off")
        return bytes(self._body)


async def read_body(chunks: AsyncIterator[bytes], *, gzipped: bool, limit: int) -> bytes:
    """A request's body, inflated. Raises as `Inflater`."""
    inflater = Inflater(gzipped=gzipped, limit=limit)
    async for chunk in chunks:
        inflater.feed(chunk)
    return inflater.finish()


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header wants gzip: named, or ``*``, and not with ``q=0``."""
    weights = dict(_coding(item) for item in accept_encoding.split(",") if item.strip())
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _coding(item: str) -> tuple[str, float]:
    name, _, parameter = item.partition(";")
    key, _, value = parameter.strip().partition("=")
    try:
        weight = float(value) if key.strip().lower() == "q" else 1.0
    except ValueError:
        weight = 0.0
    return name.strip().lower(), weight


def compress(body: bytes) -> bytes:
    """A response's body as gzip; no time of day in it, so that equal bodies are equal bytes."""
    return gzip.compress(body, compresslevel=6, mtime=0)


def media_type(content_type: str) -> str:
    """The type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()
