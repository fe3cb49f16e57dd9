"""The WebSocket side of the server: one line, and one task for it.

A line reads a message, has it handled, answers, and reads on. What is said unasked is sent by a
second task, which there is only while there is something to send. So an idle line costs one task,
and a slow or dead peer holds up nobody else; what it may leave unread is bounded in number and in
time.
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
from llm_observe.opamp.io.sending import Sending

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FIRST_MESSAGE_S = 30.0
"""How long a new line may stay silent."""

MAX_OWED = 32
"""Answers the peer may leave unread before no more of its messages are read."""

MAX_MALFORMED = 10

CLOSE_S = 2.0
"""How long the Close frame may wait for a peer to read."""

DRAIN_S = 30.0
"""How long what a lost peer had sent may take to be read: its goodbye may be the last of it."""


class Closing(Exception):
    """The line ends, by us: the WebSocket close code and a reason for people."""

    def __init__(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(code, reason)


class WebSocketLine:
    """One accepted WebSocket."""

    __slots__ = (
        "_answers",
        "_busy",
        "_closing",
        "_drain",
        "_exchange",
        "_gone",
        "_malformed",
        "_pushes",
        "_receive",
        "_send",
        "_sending",
        "_stoppable",
        "_task",
        "_writer",
        "agents",
    )

    transport: Literal["websocket"] = "websocket"

    def __init__(self, exchange: Exchange, receive: Receive, send: Send, sending: Sending) -> None:
        self.agents: dict[bytes, AgentLink] = {}
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._sending = sending
        # Answers owed while the writer is at work, and agents for whom something is due unasked.
        self._answers: deque[Answer] | None = None
        self._pushes: dict[AgentLink, None] | None = None
        self._writer: asyncio.Task[None] | None = None
        # A message is being handled: what is due unasked comes after its answer.
        self._busy = False
        self._closing: Closing | None = None
        self._task: asyncio.Task[Any] | None = None
        # It waits for the peer, not for the handler: it may be stopped.
        self._stoppable = False
        self._drain: asyncio.TimerHandle | None = None
        self._malformed = 0
        self._gone = False

    @property
    def peer(self) -> object:
        """One line is one connection."""
        return self

    # ------------------------------------------------------------------- asked of it by the server

    def push(self, link: AgentLink) -> None:
        """Send what has become due for an agent."""
        self._owe(link)
        if not self._busy:
            self._start_writer()

    def dismiss(self, link: AgentLink) -> None:
        """The agent speaks over another line; a line without agents is closed."""
        for uid in [uid for uid, other in self.agents.items() if other is link]:
            del self.agents[uid]
        if not self.agents:
            self.close(1008, "this agent has another connection")

    def close(self, code: int, reason: str) -> None:
        """Have the line closed; a Close frame is sent ("Closing Connection › WebSocket")."""
        self._closing = self._closing or Closing(code, reason)
        if self._stoppable and self._task is not None:
            self._stoppable = False
            self._task.cancel()

    # --------------------------------------------------------------------------------- its one task

    async def run(self) -> None:
        """Serve the line until either side ends it.

        An idle line waits here and in nothing deeper: each frame of a waiting task is memory.
        """
        self._task = asyncio.current_task()
        reason = "the connection broke"
        try:
            event = await self._first()
            while event["type"] == "websocket.receive":
                await self._take(event.get("bytes"))
                del event  # an idle line holds no message
                self._check_open()
                event = await self._receive()
                self._stoppable = False
            reason = _closed_by_peer(event)
        except (Closing, asyncio.CancelledError) as error:
            reason = await self._said_goodbye(error)
        finally:
            self._stoppable = False
            self._stop_helpers()
            await self._detach(reason)

    async def _said_goodbye(self, error: Closing | asyncio.CancelledError) -> str:
        """Send the Close frame, and say why; raises if it was not `close` that stopped the task."""
        if isinstance(error, Closing):
            closing: Closing = error
        elif self._closing is None or self._task is None or self._task.uncancel():
            raise error  # the server is being torn down
        else:
            closing = self._closing
        await self._send_close(closing)
        return closing.reason

    def _stop_helpers(self) -> None:
        self._sending.ended(self)
        for waiting in (self._drain, self._writer):
            if waiting is not None:
                waiting.cancel()

    async def _send_close(self, closing: Closing) -> None:
        with suppress(Exception):  # the peer may be gone already
            async with asyncio.timeout(CLOSE_S):
                await self._send(
                    {"type": "websocket.close", "code": closing.code, "reason": closing.reason}
                )

    async def _detach(self, reason: str) -> None:
        links = [link for link in set(self.agents.values()) if link.line is self]
        for link in links:
            link.line = None
        await self._exchange.line_closed(links, reason)

    async def _first(self) -> Message:
        self._check_open()
        try:
            async with asyncio.timeout(FIRST_MESSAGE_S):
                event = await self._receive()
        except TimeoutError:
            raise Closing(1008, "no message came") from None
        self._stoppable = False
        return event

    def _check_open(self) -> None:
        """Before each wait for a message, during which `close` may stop the task."""
        if self._closing is not None:
            raise self._closing
        self._stoppable = True

    async def _take(self, data: bytes | None) -> None:
        """Handle a message; what became due meanwhile goes out after its answer."""
        self._busy = True
        await self._handle(data)
        self._busy = False
        if self._pushes:
            self._start_writer()

    async def _handle(self, data: bytes | None) -> None:
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
        await self._answer(answer)
        if link is not None and link.protocol.has_news():
            self._owe(link)  # an answer may not have room for all of it

    async def _answer(self, answer: Answer) -> None:
        """Send an answer; behind what is being sent, if there is something."""
        if self._writer is None:
            self._stoppable = True
            await self._send_bytes(answer())
            self._stoppable = False
            return
        self._answers = self._answers or deque()
        self._answers.append(answer)
        if len(self._answers) >= MAX_OWED:
            self._stoppable = True
            await asyncio.wait({self._writer})
            self._stoppable = False

    # ---------------------------------------------------------------------- its writer, now and then

    def _owe(self, link: AgentLink) -> None:
        if self._pushes is None:
            self._pushes = {}
        self._pushes[link] = None

    def _start_writer(self) -> None:
        if self._writer is None and not self._gone:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while (answer := self._next_answer()) is not None:
                await self._send_bytes(answer())
        finally:
            self._writer = None

    def _next_answer(self) -> Answer | None:
        """The next thing to say; a push that an answer has carried meanwhile is none any more."""
        if self._answers:
            return self._answers.popleft()
        while self._pushes:
            link = next(iter(self._pushes))
            del self._pushes[link]
            if link.line is self and link.connected and link.protocol.has_news():
                return partial(self._pushed, link)
        self._pushes = None
        return None

    def _pushed(self, link: AgentLink) -> bytes:
        payload = link.protocol.reply(time.monotonic())
        if link.protocol.has_news():  # one custom message at a time, and no more than fits
            self._owe(link)
        return payload

    async def _send_bytes(self, payload: bytes) -> None:
        if self._gone:
            return
        self._sending.began(self)
        try:
            await self._send({"type": "websocket.send", "bytes": wire.add_header(payload)})
        except (OSError, RuntimeError):  # servers differ in how they tell of a lost peer
            self._lose()
        finally:
            self._sending.ended(self)

    def _lose(self) -> None:
        """Nothing can be sent any more; what has arrived is still read."""
        self._gone = True
        if self._drain is None:
            loop = asyncio.get_running_loop()
            self._drain = loop.call_later(DRAIN_S, self.close, 1001, "the connection broke")


def _closed_by_peer(event: Message) -> str:
    code, reason = event.get("code", 1005), event.get("reason") or ""
    if code in (1000, 1001):
        return "the agent closed the connection"
    if code in (1005, 1006):
        return "the connection broke"
    return f"the connection was closed ({code}{': ' if reason else ''}{reason})"
