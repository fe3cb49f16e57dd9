"""The OpAMP endpoint: events of agents into the service, what is wanted back to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from uuid import UUID

from llm_observe.control.access.auth import Border
from llm_observe.control.rules.model import OUR_ENTRY
from llm_observe.control.service import Service
from llm_observe.errors import LLMObserveError
from llm_observe.opamp.events import AgentDisconnected, ServerEvent
from llm_observe.opamp.io.asgi import AgentLink, OpAMPServer
from llm_observe.opamp.values import ConfigFile, ServerCapabilities
from llm_observe.settings.documents import canonical

CAPABILITIES = (
    ServerCapabilities.ACCEPTS_STATUS
    | ServerCapabilities.OFFERS_REMOTE_CONFIG
    | ServerCapabilities.ACCEPTS_EFFECTIVE_CONFIG
)
BREATH = 100
"""Agents that are looked at before other work has its turn."""

logger = logging.getLogger(__name__)


class Endpoint:
    """A handler of `llm_observe.opamp.io.asgi`, and the server that it handles for.

    Order of calls: make it, `start` on the running loop, mount `server`, `close`.
    """

    def __init__(self, service: Service, border: Border, *, heartbeat_s: float = 30.0) -> None:
        self._service, self._border = service, border
        self._published = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.server = OpAMPServer(self, capabilities=CAPABILITIES, heartbeat_s=heartbeat_s)
        service.on_publish.append(self._published.set)
        service.last_spoke = self._last_spoke

    def start(self) -> None:
        """From now on, what is published is offered at once."""
        self._task = asyncio.create_task(self._offer_all(), name="opamp-offers")

    async def close(self) -> None:
        """Say goodbye to every agent."""
        if self._task:
            self._task.cancel()
        await self.server.close()

    async def authenticate(
        self, headers: Mapping[str, str], client: tuple[str, int] | None
    ) -> int | None:
        """None for a welcome, else the HTTP status."""
        return self._border.judge_ingest(headers)

    async def on_event(self, agent: AgentLink, event: ServerEvent) -> None:
        """Take it in (durable when this returns), then offer what is wanted of the agent now."""
        await self._service.agent_event(_text(agent.uid), event, agent.transport)
        if not isinstance(event, AgentDisconnected):
            await self._offer(agent)

    async def _offer_all(self) -> None:
        while True:
            await self._published.wait()
            self._published.clear()
            for number, agent in enumerate(list(self.server.agents.values())):
                await self._offer_safely(agent)
                if number % BREATH == 0:
                    await asyncio.sleep(0)

    async def _offer_safely(self, agent: AgentLink) -> None:
        try:
            await self._offer(agent)
        except LLMObserveError as error:  # one agent's trouble must not keep the others waiting
            logger.warning("agent %s was not offered its settings: %s", _text(agent.uid), error)

    async def _offer(self, agent: AgentLink) -> None:
        if not agent.connected:
            return
        uid = _text(agent.uid)
        offer = self._service.offer_for(uid)
        if offer is None:
            await agent.clear_offer()
            return
        file = ConfigFile(canonical(offer.document), "application/json")
        await agent.offer_config({OUR_ENTRY: file}, bytes.fromhex(offer.hash))
        await self._service.offered(uid, offer)

    def _last_spoke(self, uid: str) -> float | None:
        agent = self.server.agents.get(UUID(uid).bytes)
        return agent.last_seen if agent and agent.connected else None


def _text(uid: bytes) -> str:
    return str(UUID(bytes=uid))
