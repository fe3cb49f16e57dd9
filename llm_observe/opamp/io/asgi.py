"""The server as an ASGI application: both transports behind one path.

Mount it at ``/v1/opamp`` of any ASGI framework, or serve it by itself::

    server = OpAMPServer(handler, capabilities=ServerCapabilities.OFFERS_REMOTE_CONFIG)
    uvicorn.run(server)

A POST with the content type ``application/x-protobuf`` is plain HTTP, an upgrade is a WebSocket.
The web server's own WebSocket pings find dead lines; have it leave out per-message compression,
and set its limits on message sizes no lower than ``max_message_bytes``.

Once an upgrade is accepted its ``scope["headers"]`` is emptied: middleware that wants them reads them
before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from llm_observe.opamp import wire
from llm_observe.opamp.interning import Interned
from llm_observe.opamp.io import serve_http
from llm_observe.opamp.io.exchange import Exchange, Handler
from llm_observe.opamp.io.registry import MAX_AGENTS, MAX_LINE_AGENTS, AgentLink, Registry
from llm_observe.opamp.io.sending import Sending
from llm_observe.opamp.io.serve_http import Receive, Refused, Send, respond, status_refusal
from llm_observe.opamp.io.serve_websocket import WebSocketLine
from llm_observe.opamp.server import ServerProtocol
from llm_observe.opamp.values import ServerCapabilities
from llm_observe.uids import new_uid

__all__ = ["AgentLink", "Handler", "OpAMPServer"]

MISSED_BEATS = 3
"""An agent that promised to speak and missed this many turns is gone."""

CLOSE_S = 2.0
GONE_S = 1.0

Scope = Mapping[str, Any]


class OpAMPServer:
    """An OpAMP server for any number of agents, on one event loop.

    ``heartbeat_s`` is offered to agents that send heartbeats, and is how often an agent over HTTP
    is expected to poll. Beyond ``max_connections`` WebSockets an upgrade is answered with 503 and
    Retry-After; beyond ``max_agents`` connected agents, or ``max_agents_per_connection`` on one
    WebSocket, a message with UNAVAILABLE. ``custom_capabilities`` are announced; messages of others
    are ignored.
    None of the methods waits for a network but ``close``.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        capabilities: ServerCapabilities,
        max_message_bytes: int = wire.MAX_MESSAGE_BYTES,
        heartbeat_s: float = 30.0,
        max_agents: int = MAX_AGENTS,
        max_connections: int = MAX_AGENTS,
        max_agents_per_connection: int = MAX_LINE_AGENTS,
        custom_capabilities: frozenset[str] = frozenset(),
    ) -> None:
        self._handler = handler
        self._capabilities = capabilities | ServerCapabilities.OFFERS_CONNECTION_SETTINGS
        self._max_message_bytes = max_message_bytes
        self._heartbeat_s = heartbeat_s
        self._max_connections = max_connections
        self._custom_capabilities = custom_capabilities
        self._interned = Interned()
        self._registry = Registry(self._make, new_uid, max_agents, max_agents_per_connection)
        self._exchange = Exchange(handler, self._registry, max_message_bytes)
        self._sending = Sending()
        self._lines: dict[WebSocketLine, asyncio.Task[Any] | None] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def agents(self) -> Mapping[bytes, AgentLink]:
        """All agents by instance uid: connected ones, and those gone for less than an hour."""
        return self._registry.agents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._watcher is None and not self._closing:
            self._watcher = asyncio.create_task(self._watch())
        if scope["type"] != "websocket":
            await self._http(scope, receive, send)
            return
        line = await self._accepted(scope, receive, send)
        if line is None:
            return
        try:
            await line.run()
        finally:
            del self._lines[line]

    async def close(self) -> None:
        """Send every WebSocket a Close frame, refuse what comes after, and wait a moment."""
        self._closing = True
        if self._watcher is not None:
            self._watcher.cancel()
        for line in self._lines:
            line.close(1001, "the server stops")
        tasks = [task for task in self._lines.values() if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)
        self._sending.stop()

    def _make(self, uid: bytes) -> ServerProtocol:
        return ServerProtocol(
            uid,
            self._capabilities,
            heartbeat_s=self._heartbeat_s,
            max_message_bytes=self._max_message_bytes,
            custom_capabilities=self._custom_capabilities,
            interned=self._interned,
        )

    async def _refused(self, scope: Scope, headers: Mapping[str, str]) -> Refused | None:
        if self._closing:
            return status_refusal(503)
        client = scope.get("client")
        status = await self._handler.authenticate(headers, tuple(client) if client else None)
        return None if status is None else status_refusal(status)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        refused = await self._refused(scope, headers)
        if refused is not None:
            await respond(send, refused)
        else:
            await serve_http.serve(self._exchange, scope, headers, receive, send)

    async def _accepted(self, scope: Scope, receive: Receive, send: Send) -> WebSocketLine | None:
        """The line of an upgrade, once it is accepted; None if it was refused."""
        await receive()  # websocket.connect
        full = len(self._lines) >= self._max_connections
        refused = status_refusal(503) if full else await self._refused(scope, _headers(scope))
        if refused is not None:
            await _refuse_upgrade(scope, send, refused)
            await _see_off(receive)
            return None
        await send({"type": "websocket.accept"})
        _drop_head(scope, receive)
        line = WebSocketLine(self._exchange, receive, send, self._sending)
        self._lines[line] = asyncio.current_task()
        return line

    async def _watch(self) -> None:
        """Notice agents that fell silent, and forget those long gone."""
        while True:
            await asyncio.sleep(self._heartbeat_s)
            await self._sweep(time.time())

    async def _sweep(self, now: float) -> None:
        limit_s = MISSED_BEATS * self._heartbeat_s
        for link in self._registry.silent(now, limit_s):
            reason = f"nothing heard for {limit_s:.0f} s"
            if link.line is not None:
                link.line.close(1008, reason)
            await self._exchange.line_closed([link], reason)
        self._registry.forget_gone(now)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _headers(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; ASGI allows repeats, and the values are joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _drop_head(scope: Scope, receive: Receive) -> None:
    """Let go of the head of an accepted upgrade, which would else live as long as the line: 4 KB.

    Those that parsed it hold the same headers: uvicorn's ``websockets-sansio`` is known to keep
    a request and a response, and needs neither any more. Other servers are left alone.
    """
    if isinstance(scope["headers"], list):
        scope["headers"].clear()
    parser = getattr(receive, "__self__", None)
    for message in (getattr(parser, "request", None), getattr(parser, "response", None)):
        headers = getattr(message, "headers", None)
        if isinstance(headers, MutableMapping):
            headers.clear()


async def _see_off(receive: Receive) -> None:
    """Wait until a refused peer is gone: to uvicorn an application that ends before is a fault."""
    with suppress(Exception):  # servers differ in what they say after a refusal
        async with asyncio.timeout(GONE_S):
            await receive()
            await asyncio.sleep(0)  # the web server hears that its line is closed in between


async def _refuse_upgrade(scope: Scope, send: Send, refused: Refused) -> None:
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await respond(send, refused, "websocket.http.response")
    else:  # the web server turns this into a 403
        await send({"type": "websocket.close", "code": 1008})
