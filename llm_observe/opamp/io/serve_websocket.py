"""The WebSocket side of the server: one line, its reader and its writer.

The reader handles one message at a time; the writer sends what is owed, composed when its turn
comes. Each line has its own two tasks, so a slow or dead peer holds up nobody else; what it may
leave unread is bounded in number and in time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from llm_observe.errors import MessageTooLarge
from llm_observe.opamp import wire
from llm_observe.opamp.io.exchange import Answer, Exchange
from llm_observe.opamp.io.registry import AgentLink

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FIRST_MESSAGE_S = 30.0
"""How long a new line may stay silent."""

SEND_S = 30.0
"""How long one message may wait for the peer to read."""

MAX_OWED = 32
"""Answers the peer may leave unread before no more of its messages are read."""

MAX_MALFORMED = 10

DRAIN_S = 30.0
"""How long what a lost peer had sent may take to be read: its goodbye may be the last of it."""


class Closing(Exception):
    """The line ends, by us: the WebSocket close code and a reason for people."""

    def __init__(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(code, reason)


class PeerGone(Exception):
    """Nothing can be sent any more; what has arrived is still read."""


class WebSocketLine:
    """One accepted WebSocket."""

    transport: Literal["websocket"] = "websocket"

    def __init__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        self.agents: dict[bytes, AgentLink] = {}
        self.peer: object = self
        self._exchange = exchange
        self._receive = receive
        self._send = send
        # Answers owed, and agents for whom something became due unasked.
        self._answers: deque[Answer] = deque()
        self._pushes: dict[AgentLink, None] = {}
        self._closing: Closing | None = None
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._malformed = 0
        self._gone = False

    # ------------------------------------------------------------------- asked of it by the server

    def push(self, link: AgentLink) -> None:
        """Send what has become due for an agent."""
        self._pushes[link] = None
        self._work.set()

    def dismiss(self, link: AgentLink) -> None:
        """The agent speaks over another line; a line without agents is closed."""
        for uid in [uid for uid, other in self.agents.items() if other is link]:
            del self.agents[uid]
        if not self.agents:
            self.close(1008, "this agent has another connection")

    def close(self, code: int, reason: str) -> None:
        """Have the line closed; a Close frame is sent ("Closing Connection › WebSocket")."""
        self._closing = self._closing or Closing(code, reason)
        self._work.set()

    # ------------------------------------------------------------------------------- its two tasks

    async def run(self) -> None:
        """Serve the line until either side ends it."""
        reader, writer = asyncio.create_task(self._read()), asyncio.create_task(self._write())
        tasks = {reader, writer}
        reason = "the connection broke"
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if isinstance(writer.done() and writer.exception(), PeerGone):
                done, _ = await asyncio.wait({reader}, timeout=DRAIN_S)
            reason = await self._ending(done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._detach(reason)

    async def _ending(self, done: set[asyncio.Task[str]]) -> str:
        if not done:
            return "the connection broke"
        try:
            return next(iter(done)).result()
        except Closing as closing:
            with suppress(Exception):  # the peer may be gone already
                await self._send_close(closing)
            return closing.reason

    async def _send_close(self, closing: Closing) -> None:
        async with asyncio.timeout(SEND_S):
            await self._send(
                {"type": "websocket.close", "code": closing.code, "reason": closing.reason}
            )

    async def _detach(self, reason: str) -> None:
        links = [link for link in set(self.agents.values()) if link.line is self]
        for link in links:
            link.line = None
        await self._exchange.line_closed(links, reason)

    async def _read(self) -> str:
        limit_s: float | None = FIRST_MESSAGE_S
        while True:
            await self._room.wait()
            try:
                event = await asyncio.wait_for(self._receive(), limit_s)
            except TimeoutError:
                raise Closing(1008, "no message came") from None
            if event["type"] != "websocket.receive":
                return _closed_by_peer(event)
            await self._take(event.get("bytes"))
            limit_s = None

    async def _take(self, data: bytes | None) -> None:
        if data is None:
            raise Closing(1003, "OpAMP is binary")
        try:
            link, answer = await self._exchange.receive(self, data, framed=True)
        except MessageTooLarge as error:
            raise Closing(1009, str(error)) from None
        if link is None:
            self._malformed += 1
        if self._malformed > MAX_MALFORMED:
            raise Closing(1008, "too many malformed messages")
        self._owe(answer)
        if link is not None and link.protocol.has_news():
            self.push(link)  # an answer may not have room for all of it

    def _owe(self, answer: Answer) -> None:
        if self._gone:
            return
        self._answers.append(answer)
        self._work.set()
        if len(self._answers) >= MAX_OWED:
            self._room.clear()

    async def _write(self) -> str:
        while True:
            await self._work.wait()
            self._work.clear()
            while (answer := self._next_answer()) is not None:
                await self._send_bytes(answer())
            if self._closing is not None:
                raise self._closing

    def _next_answer(self) -> Answer | None:
        """The next thing to say; a push that an answer has carried meanwhile is none any more."""
        if self._answers:
            if len(self._answers) <= MAX_OWED:
                self._room.set()
            return self._answers.popleft()
        while self._pushes:
            link = next(iter(self._pushes))
            del self._pushes[link]
            if link.line is self and link.connected and link.protocol.has_news():
                return partial(self._pushed, link)
        return None

    def _pushed(self, link: AgentLink) -> bytes:
        payload = link.protocol.reply(time.monotonic())
        if link.protocol.has_news():  # one custom message at a time, and no more than fits
            self.push(link)
        return payload

    async def _send_bytes(self, payload: bytes) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await self._send({"type": "websocket.send", "bytes": wire.add_header(payload)})
        except TimeoutError:
            raise Closing(1008, "the agent does not read") from None
        except (OSError, RuntimeError):  # servers differ in how they tell of a lost peer
            self._gone = True
            self._room.set()
            raise PeerGone from None


def _closed_by_peer(event: Message) -> str:
    code, reason = event.get("code", 1005), event.get("reason") or ""
    if code in (1000, 1001):
        return "the agent closed the connection"
    if code in (1005, 1006):
        return "the connection broke"
    return f"the connection was closed ({code}{': ' if reason else ''}{reason})"
