"""Use cases of agents: list, look at, forget; and what the OpAMP endpoint tells and asks."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llm_observe.control.bus import Bus
from llm_observe.control.roster import Roster, order
from llm_observe.control.rules import fleet, plan
from llm_observe.control.rules.model import (
    AgentDetail,
    AgentSummary,
    ConfigState,
    Notice,
    Page,
    Presence,
)
from llm_observe.control.rules.record import AgentRecord
from llm_observe.control.rules.views import detail
from llm_observe.control.store.storage import Storage
from llm_observe.errors import Conflict, NotFound, Problem, SettingsError
from llm_observe.opamp.events import ServerEvent

MAX_AGENTS = 20_000
"""Most agents that are remembered; beyond it those seen least recently are forgotten."""
STOPPED_KEPT_S = 24 * 3600.0
OFFLINE_KEPT_S = 7 * 24 * 3600.0
WORDS_KEPT_S = 400 * 24 * 3600.0
"""How long acknowledgements and audit rows are kept."""
MAX_PAGE = 1000
UNHEALTHY = "unhealthy"


class FleetCases:
    """Part of `llm_observe.control.service.Service`."""

    _storage: Storage
    _roster: Roster
    _bus: Bus
    _clock: Callable[[], float]

    def _init_fleet(self) -> None:
        self.last_spoke: Callable[[str], float | None] = lambda _: None
        self._written: dict[str, float] = {}

    async def _load_fleet(self) -> None:
        now = self._clock()
        for record in await self._storage.agents(MAX_AGENTS):
            self._roster.put(fleet.after_restart(record, now))

    # For people

    async def agents(
        self,
        *,
        service: str | None = None,
        state: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[AgentSummary]:
        """Agents, connected ones first, then by service and newest first.

        ``state``: a `Presence`, a `ConfigState`, or ``unhealthy``.

        Raises:
            SettingsError: An unknown state or a cursor that is not one of ours.
        """
        _check_state(state)
        after = _position(cursor)
        limit = max(1, min(limit, MAX_PAGE))
        self._freshen()
        rows = [
            row
            for row in self._roster.summaries()
            if (not service or row.service == service) and _is(row, state)
        ]
        rest = [row for row in rows if after is None or order(row) > after]
        more = len(rest) > limit
        return Page(rest[:limit], _cursor(rest[limit - 1]) if more else None, len(rows))

    async def connected(self, service: str | None = None) -> list[AgentSummary]:
        """All connected agents (of a service), in the order of `agents`."""
        rows = self._roster.summaries()
        return [row for row in rows if row.connected and service in (None, row.service)]

    async def agent(self, uid: str) -> AgentDetail:
        """All that is known of one agent.

        Raises:
            NotFound: No such agent.
        """
        self._freshen()
        record = self._known(uid)
        return detail(record, self._roster.desired(record))

    async def forget_agent(self, uid: str) -> None:
        """Remove an agent that is no longer connected from the list.

        Raises:
            NotFound: No such agent.
            Conflict: It is connected.
        """
        if self._known(uid).presence is Presence.CONNECTED:
            raise Conflict(f"agent {uid} is connected; stop its process first")
        await self._forget([uid])

    async def services(self) -> list[str]:
        """Names of all services that are known from agents or have settings, sorted."""
        named = {record.service for record in self._roster}
        named |= {head.scope.service or "" for head in self._roster.heads}
        return sorted(named - {""})

    # For the OpAMP endpoint

    async def agent_event(self, uid: str, event: ServerEvent, transport: str) -> None:
        """Fold an event into what is known; what it changed is durable when this returns.

        An event that changes nothing but the agent's age is kept in memory only.
        """
        now = self._clock()
        before = self._roster.get(uid)
        record = before or fleet.first_contact(uid, transport, now)
        after = fleet.fold(replace(record, transport=transport), event, now)
        self._roster.put(after)
        if before is None or replace(after, last_seen=before.last_seen) != before:
            await self._keep(record, after)

    def offer_for(self, uid: str) -> plan.Offer | None:
        """The config that an agent should be sent now."""
        record = self._roster.get(uid)
        return plan.offer(record, self._roster.desired(record)) if record else None

    async def offered(self, uid: str, offer: plan.Offer) -> None:
        """A config was handed to an agent's line."""
        record = self._roster.get(uid)
        if record is not None and record.offered != offer.hash:
            after = fleet.offered(record, offer.hash, offer.version, self._clock())
            self._roster.put(after)
            await self._keep(record, after)

    def lacks_components(self, uid: str) -> bool:
        """Whether an agent told only the hash of what it has on board."""
        record = self._roster.get(uid)
        return bool(record and record.components_hash and record.components is None)

    # How it is done

    async def _keep(self, before: AgentRecord, after: AgentRecord) -> None:
        writes = [self._storage.save_agents([after])]
        if after.acknowledged != before.acknowledged and after.acknowledged.hash:
            writes.append(self._storage.add_acknowledgement(after.uid, after.acknowledged))
        await asyncio.gather(*writes)
        self._written[after.uid] = after.last_seen
        self._bus.publish(Notice("agents", after.uid))

    def _known(self, uid: str) -> AgentRecord:
        record = self._roster.get(uid.lower())
        if record is None:
            raise NotFound(f"there is no agent {uid[:64]}")
        return record

    def _freshen(self) -> None:
        """Ages move with every heartbeat; the line knows them, so they are asked for when shown."""
        for record in self._roster.connected():
            spoke = self.last_spoke(record.uid)
            if spoke is not None and spoke > record.last_seen:
                self._roster.put(fleet.seen(record, spoke))

    async def _forget(self, uids: list[str]) -> None:
        await self._storage.forget_agents(uids)
        for uid in uids:
            self._roster.remove(uid)
            self._written.pop(uid, None)
        self._bus.publish(Notice("agents"))

    async def _tidy_fleet(self) -> None:
        now = self._clock()
        self._freshen()
        old = [record.uid for record in self._roster if _forgettable(record, now)]
        old += self._surplus(len(self._roster) - len(old) - MAX_AGENTS)
        if old:
            await self._forget(old)
        moved = [r for r in self._roster if self._written.get(r.uid, 0.0) < r.last_seen]
        await self._storage.save_agents(moved)
        self._written |= {record.uid: record.last_seen for record in moved}
        await self._storage.forget_before(now - WORDS_KEPT_S)

    def _surplus(self, number: int) -> list[str]:
        away = [r for r in self._roster if r.presence is not Presence.CONNECTED]
        return [r.uid for r in sorted(away, key=lambda r: r.last_seen)[: max(0, number)]]


def _forgettable(record: AgentRecord, now: float) -> bool:
    kept = {Presence.STOPPED: STOPPED_KEPT_S, Presence.OFFLINE: OFFLINE_KEPT_S}
    return now - record.last_seen > kept.get(record.presence, float("inf"))


def _check_state(state: str | None) -> None:
    states = [*map(str, Presence), *map(str, ConfigState), UNHEALTHY]
    if state and state not in states:
        raise SettingsError([Problem("state", repr(state[:40]), f"one of {', '.join(states)}")])


def _is(row: AgentSummary, state: str | None) -> bool:
    if not state:
        return True
    if state == UNHEALTHY:
        return row.health.healthy is False
    return state in (row.state, row.config.state)


def _cursor(row: AgentSummary) -> str:
    return base64.urlsafe_b64encode(json.dumps(order(row)).encode()).decode().rstrip("=")


def _position(cursor: str | None) -> tuple[Any, ...] | None:
    if not cursor:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        away, service, first, uid = json.loads(text)
        return (bool(away), str(service), float(first), str(uid))
    except (ValueError, TypeError):
        problem = Problem("cursor", repr(cursor[:40]), "the next of an earlier page")
        raise SettingsError([problem]) from None
