"""One message in, one answer out: what both transports of the server have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from llm_observe.errors import MalformedMessage, RemoteProtocolError
from llm_observe.opamp import wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.client import check_uid
from llm_observe.opamp.events import Malformed, ServerEvent
from llm_observe.opamp.io.registry import AgentLink, Busy, Line, Registry
from llm_observe.opamp.server import refusal
from llm_observe.opamp.values import ErrorKind

HANDLER_S = 30.0
"""How long the handler may take for one message before its agent is told to come back later."""

RETRY_S = 10.0
"""When: after the server failed or is full."""

logger = logging.getLogger("llm_observe.opamp.server")

Answer = Callable[[], bytes]
"""Composes the protobuf bytes of a reply; called at the moment of sending."""


class Handler(Protocol):
    """What the server's user provides."""

    async def authenticate(
        self, headers: Mapping[str, str], client: tuple[str, int] | None
    ) -> int | None:
        """None welcomes; else the HTTP status to refuse with: 401, 403, 429, 503.

        ``headers`` have lower-case names.
        """

    async def on_event(self, agent: AgentLink, event: ServerEvent) -> None:
        """Take in what happened to an agent; one agent's events come one at a time, in order.

        The answer to the agent waits for it, so an offer made here travels with the answer. If it
        raises or takes longer than `HANDLER_S`, the agent is told to come back, and to report
        everything again.
        """


class Exchange:
    """Handles messages of all agents on behalf of one `Handler`."""

    def __init__(self, handler: Handler, registry: Registry, max_message_bytes: int) -> None:
        self.handler = handler
        self.registry = registry
        self.max_message_bytes = max_message_bytes

    async def receive(
        self, line: Line, data: bytes, *, framed: bool, uid: bytes = b""
    ) -> tuple[AgentLink | None, Answer]:
        """Process the bytes of one message; the agent, if it is known, and the answer.

        ``uid`` stands in where the bytes do not tell. Raises `MessageTooLarge`.
        """
        try:
            message = wire.decode_agent(data, framed=framed, limit=self.max_message_bytes)
            check_uid(message.instance_uid)
        except MalformedMessage as error:
            return None, _refuse(uid, ErrorKind.BAD_REQUEST, str(error))
        except ValueError as error:
            return None, _refuse(message.instance_uid or uid, ErrorKind.BAD_REQUEST, str(error))
        return await self._process(line, message)

    async def _process(
        self, line: Line, message: opamp_pb2.AgentToServer
    ) -> tuple[AgentLink | None, Answer]:
        spoken = message.instance_uid
        try:
            link = self.registry.claim(message, line)
        except Busy:
            return None, _refuse(spoken, ErrorKind.UNAVAILABLE, "too many agents", RETRY_S)
        if not link.lock.locked() and link.protocol.hears_beat(message):
            return link, link.answer  # nothing to tell: an idle agent touches memory only
        async with link.lock:
            try:
                await self._tell(link, link.protocol.receive(message))
            except RemoteProtocolError as error:
                await self._tell_safely(link, [Malformed(str(error))])
                return link, _refuse(spoken, ErrorKind.BAD_REQUEST, str(error))
            except asyncio.CancelledError:
                link.protocol.forget()  # nobody knows how far the handler got
                raise
            except Exception:  # the handler's; the agent shall try again
                logger.warning("! a message of an agent could not be processed", exc_info=True)
                link.protocol.forget()
                return link, _refuse(spoken, ErrorKind.UNAVAILABLE, "try again later", RETRY_S)
        return link, link.answer

    async def line_closed(self, links: Iterable[AgentLink], reason: str) -> None:
        """The line under some agents broke, or they fell silent."""
        for link in links:
            async with link.lock:
                await self._tell_safely(link, link.protocol.line_closed(reason))

    async def _tell(self, link: AgentLink, happened: Sequence[ServerEvent]) -> None:
        if not happened:
            return
        async with asyncio.timeout(HANDLER_S):
            for event in happened:
                await self.handler.on_event(link, event)

    async def _tell_safely(self, link: AgentLink, happened: Sequence[ServerEvent]) -> None:
        try:
            await self._tell(link, happened)
        except Exception:  # the handler's; there is nobody to answer
            logger.warning("! an agent's event was not handled", exc_info=True)


def _refuse(uid: bytes, kind: ErrorKind, text: str, retry_after_s: float | None = None) -> Answer:
    return lambda: refusal(uid, kind, text, retry_after_s)
