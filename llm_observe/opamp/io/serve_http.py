"""The plain HTTP side of the server: a POST with a bare protobuf body, answered by another.

What the server wants to say waits for the agent's next request; the conversation keeps it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Literal

from llm_observe.errors import MalformedMessage, MessageTooLarge
from llm_observe.opamp.io.bodies import (
    WORTH_COMPRESSING,
    accepts_gzip,
    compress,
    media_type,
    read_body,
)
from llm_observe.opamp.io.exchange import Exchange
from llm_observe.opamp.io.registry import AgentLink
from llm_observe.opamp.server import refusal
from llm_observe.opamp.values import ErrorKind
from llm_observe.uids import uid_from_text

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONTENT_TYPE = "application/x-protobuf"
READ_S = 30.0
"""How long a request may take to arrive."""

MOST_DIGITS = 20
"""Of a length that are read: more than 64 bits hold, and Python refuses to read thousands."""

RETRY_AFTER_S = 30
"""OpAMP recommends at least this much ("Throttling › Plain HTTP")."""


class Refused(Exception):  # it is an answer, not an error of ours
    """An answer by HTTP status alone."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.text, self.headers = status, text, dict(headers or {})
        super().__init__(status, text)


class HTTPLine:
    """One request: it carries one agent, and cannot push."""

    transport: Literal["http"] = "http"

    def __init__(self, peer: object) -> None:
        self.agents: dict[bytes, AgentLink] = {}
        self.peer = peer

    def push(self, link: AgentLink) -> None:
        """The next request fetches it."""

    def dismiss(self, link: AgentLink) -> None:
        """A request ends by itself."""

    def close(self, code: int, reason: str) -> None:
        """A request ends by itself."""


def check_head(method: str, headers: Mapping[str, str], limit: int) -> None:
    """Raise `Refused` for a request whose head already says that it is none of ours."""
    if method != "POST":
        raise Refused(405, "OpAMP over HTTP is POST, or a WebSocket upgrade", {"allow": "POST"})
    if media_type(headers.get("content-type", "")) != CONTENT_TYPE:
        raise Refused(415, f"the content type must be {CONTENT_TYPE}")
    if headers.get("content-encoding", "identity").strip().lower() not in ("gzip", "identity"):
        raise Refused(415, "the content encoding must be gzip or identity", {"accept": "gzip"})
    length = headers.get("content-length", "0")
    size = int(length[:MOST_DIGITS]) if length.isdecimal() else 0
    if size > limit:
        raise Refused(413, str(MessageTooLarge(size, limit)))


def status_refusal(status: int) -> Refused:
    """What a handler's refusal looks like on the wire."""
    headers = {
        401: {"www-authenticate": "Bearer"},
        429: {"retry-after": str(RETRY_AFTER_S)},
        503: {"retry-after": str(RETRY_AFTER_S)},
    }
    return Refused(status, "", headers.get(status, {}))


async def serve(
    exchange: Exchange,
    scope: Mapping[str, Any],
    headers: Mapping[str, str],
    receive: Receive,
    send: Send,
) -> None:
    """Answer one request of an agent that has been let in."""
    line = HTTPLine(tuple(scope.get("client") or ()))
    try:
        check_head(scope["method"], headers, exchange.max_message_bytes)
        body = await _answer(exchange, line, headers, receive)
    except MessageTooLarge as error:
        return await respond(send, Refused(413, str(error)))
    except Refused as refused:
        return await respond(send, refused)
    return await _respond_protobuf(send, body, headers.get("accept-encoding", ""))


async def _answer(
    exchange: Exchange, line: HTTPLine, headers: Mapping[str, str], receive: Receive
) -> bytes:
    uid = uid_from_text(headers.get("opamp-instance-uid", ""))
    gzipped = headers.get("content-encoding", "").strip().lower() == "gzip"
    limit = exchange.max_message_bytes
    try:
        async with asyncio.timeout(READ_S):
            data = await read_body(_chunks(receive), gzipped=gzipped, limit=limit)
    except TimeoutError:
        raise Refused(408, "the request did not arrive in time") from None
    except MalformedMessage as error:
        return refusal(uid, ErrorKind.BAD_REQUEST, str(error))
    _, answer = await exchange.receive(line, data, framed=False, uid=uid)
    return answer()


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "the request was cut off")
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _respond_protobuf(send: Send, body: bytes, accept_encoding: str) -> None:
    headers = {"content-type": CONTENT_TYPE, "vary": "accept-encoding"}
    if len(body) >= WORTH_COMPRESSING and accepts_gzip(accept_encoding):
        body, headers["content-encoding"] = compress(body), "gzip"
    await _send(send, 200, headers, body)


async def respond(send: Send, refused: Refused, kind: str = "http.response") -> None:
    """Send an answer by HTTP status; ``kind`` differs where a WebSocket upgrade is refused."""
    headers = {"content-type": "text/plain; charset=utf-8", **refused.headers}
    await _send(send, refused.status, headers, refused.text.encode(), kind)


async def _send(
    send: Send, status: int, headers: Mapping[str, str], body: bytes, kind: str = "http.response"
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": f"{kind}.start", "status": status, "headers": raw})
    await send({"type": f"{kind}.body", "body": body})
