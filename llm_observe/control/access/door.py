"""The door in front of everything: one ASGI middleware that asks `auth.Border` and adds headers."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from fastapi.exceptions import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm_observe.control.access.auth import Border, Refusal, Surface, Visitor, surface

ACTOR = "llm_observe.actor"
"""Key of the ASGI scope that holds who acts; empty where nobody had to say."""

MAX_BODY = 1024 * 1024
"""Largest body of a request to pages and REST; OTLP and OpAMP have limits of their own."""

_SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline';"
        " img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Door:
    """Pure ASGI: streams and WebSockets pass through untouched."""

    def __init__(self, app: ASGIApp, border: Border) -> None:
        self._app, self._border = app, border

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        visitor = Visitor(scope["path"], dict(Headers(scope=scope)))
        verdict = self._border.judge(visitor)
        if isinstance(verdict, Refusal):
            await _refuse(scope, receive, send, visitor, verdict)
            return
        scope[ACTOR] = verdict
        if surface(scope["path"]) is Surface.INGEST:
            await self._app(scope, receive, send)
        else:
            await self._app(scope, _bounded(receive), _secured(send, scope["path"]))


class BodyTooLarge(HTTPException):
    """A request body beyond `MAX_BODY`."""

    def __init__(self) -> None:
        super().__init__(413, f"a body may hold {MAX_BODY} bytes")


def _bounded(receive: Receive) -> Receive:
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise BodyTooLarge
        return message

    return bounded


def _secured(send: Send, path: str) -> Send:
    async def secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SECURITY.items():
                headers.setdefault(name, value)
            if not path.startswith("/static/"):
                headers.setdefault("cache-control", "no-store")
        await send(message)

    return secured


async def _refuse(
    scope: Scope, receive: Receive, send: Send, visitor: Visitor, refusal: Refusal
) -> None:
    kind = _answer_kind(scope)
    if kind == "close":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    status, headers, body = _answer(scope, visitor, refusal)
    headers["content-length"] = str(len(body))
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": f"{kind}.start", "status": status, "headers": raw})
    await send({"type": f"{kind}.body", "body": body})


def _answer_kind(scope: Scope) -> str:
    if scope["type"] == "http":
        return "http.response"
    extensions = scope.get("extensions") or {}
    return "websocket.http.response" if "websocket.http.response" in extensions else "close"


def _answer(scope: Scope, visitor: Visitor, refusal: Refusal) -> tuple[int, dict[str, str], bytes]:
    if refusal.status == 401 and _wants_page(scope, visitor):
        return 303, {"location": f"/login?next={quote(_target(scope))}", **_SECURITY}, b""
    titles = {401: "Unauthorized", 403: "Forbidden"}
    headers = {"content-type": "application/problem+json", "cache-control": "no-store"}
    if refusal.status == 401:
        headers["www-authenticate"] = 'Bearer realm="llm-observe"'
    body = problem_body(refusal.status, titles[refusal.status], refusal.reason)
    return refusal.status, headers | _SECURITY, body


def problem_body(status: int, title: str, detail: str, problems: Any = ()) -> bytes:
    """An answer of type ``application/problem+json`` (RFC 9457)."""
    content = {"title": title, "status": status, "detail": detail, "problems": list(problems)}
    return json.dumps(content).encode()


def _wants_page(scope: Scope, visitor: Visitor) -> bool:
    page = scope["type"] == "http" and scope["method"] == "GET"
    return (
        page
        and not scope["path"].startswith(("/api/", "/v1/", "/metrics"))
        and "text/html" in visitor.headers.get("accept", "")
    )


def _target(scope: Scope) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{scope['path']}?{query}" if query else str(scope["path"])
