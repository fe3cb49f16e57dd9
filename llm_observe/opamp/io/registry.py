"""Which agents there are, and over which line each speaks.

An agent is known by its instance uid. If a second line claims a uid that is live on a WebSocket,
the numbers tell who it is: one that goes on counting where the first left off is the same agent,
back before its old line was found dead, and takes over; any other is a second agent with a copied
uid, and gets a new one (OpAMP, "Duplicate instance_uid Detection"). Two that share a uid over
plain HTTP are told apart by taking turns; see `llm_observe.opamp.twins`.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, Protocol

from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.connections import ConnectionOffer
from llm_observe.opamp.server import ServerProtocol, wants_uid
from llm_observe.opamp.twins import Turns
from llm_observe.opamp.values import AgentState, ConfigFile

Transport = Literal["websocket", "http"]

TAKEOVER_NUMBERS = 10
"""How far ahead of the last number the same agent may be after losing messages with its line."""

KEEP_S = 3600.0
"""How long an agent that is gone stays listed."""

MAX_AGENTS = 50_000

MAX_LINE_AGENTS = 5_000
"""Agents on one WebSocket: who holds one line must not take the room of all others."""


class Busy(Exception):
    """No room for another agent."""


class Line(Protocol):
    """What carries messages: a WebSocket with one or more agents on it, or one HTTP request."""

    @property
    def transport(self) -> Transport:
        """The kind of line."""

    @property
    def agents(self) -> dict[bytes, AgentLink]:
        """The agents on this line, by the uids they speak under."""

    @property
    def peer(self) -> object:
        """Something that is equal for requests over one connection, and else differs."""

    def push(self, link: AgentLink) -> None:
        """Send what has become due for an agent, if the line can."""

    def dismiss(self, link: AgentLink) -> None:
        """The agent speaks over another line now."""

    def close(self, code: int, reason: str) -> None:
        """End the line, with a WebSocket close code and a reason for people."""


class AgentLink:
    """One agent, as the server's user sees it."""

    __slots__ = ("last_seen", "line", "lock", "protocol", "transport", "turns")

    def __init__(self, protocol: ServerProtocol) -> None:
        self.protocol = protocol
        self.transport: Transport = "http"
        # Unix seconds of the newest message.
        self.last_seen = 0.0
        # The WebSocket it is on; None over HTTP and while it is gone.
        self.line: Line | None = None
        # Over HTTP: whether it is one agent.
        self.turns = Turns()
        # Its messages are handled one at a time.
        self.lock = asyncio.Lock()

    @property
    def uid(self) -> bytes:
        """The instance uid, 16 bytes."""
        return self.protocol.instance_uid

    @property
    def state(self) -> AgentState:
        """Exactly what arrived on the wire."""
        return self.protocol.state

    @property
    def connected(self) -> bool:
        """Whether it is there; over HTTP: it polled lately and said no goodbye."""
        return self.protocol.connected

    def answer(self) -> bytes:
        """The protobuf bytes of the next message to the agent, composed now."""
        return self.protocol.reply(time.monotonic())

    async def offer_config(self, files: Mapping[str, ConfigFile], config_hash: bytes) -> None:
        """Offer a configuration: sent now over WebSocket, with the next reply over HTTP.

        Not sent while the agent's reported hash equals it, nor to an agent that does not accept
        remote configuration. Returns without waiting for the network. Raises
        `LocalProtocolError` without a hash and `MessageTooLarge` beyond the size limit.
        """
        self.protocol.offer_config(files, config_hash)
        self._push()

    async def clear_offer(self) -> None:
        """Offer nothing any more."""
        self.protocol.clear_offer()

    async def offer_connections(self, offer: ConnectionOffer) -> None:
        """Offer connection settings, as `offer_config` does a configuration.

        Raises as `ServerProtocol.offer_connections`.
        """
        self.protocol.offer_connections(offer)
        self._push()

    async def clear_connections(self) -> None:
        """Offer no connection settings any more."""
        self.protocol.clear_connections()

    async def beat_every(self, seconds: float | None) -> None:
        """Tell another interval of heartbeats, in seconds; None leaves it to the agent."""
        self.protocol.beat_every(seconds)
        self._push()

    async def ask_for_everything(self) -> None:
        """Ask for a full report."""
        self.protocol.ask_for_everything()
        self._push()

    async def restart(self) -> None:
        """Command the agent to restart. Raises `LocalProtocolError` where it does not accept that."""
        self.protocol.restart()
        self._push()

    async def send_custom(self, capability: str, type_: str, data: bytes) -> None:
        """Send a custom message, at most once. Raises as `ServerProtocol.send_custom`."""
        self.protocol.send_custom(capability, type_, data)
        self._push()

    def _push(self) -> None:
        if self.line is not None:
            self.line.push(self)


class Registry:
    """All agents by uid. ``make`` builds a conversation, ``new_uid`` an instance uid."""

    def __init__(
        self,
        make: Callable[[bytes], ServerProtocol],
        new_uid: Callable[[], bytes],
        max_agents: int = MAX_AGENTS,
        max_line_agents: int = MAX_LINE_AGENTS,
    ) -> None:
        self._make = make
        self._max_line_agents = max_line_agents
        self._new_uid = new_uid
        self._max_agents = max_agents
        self._links: dict[bytes, AgentLink] = {}
        # Temporary uid to the one made for it, for agents whose answer got lost on the way.
        self._assigned: dict[bytes, bytes] = {}
        # Copied uid to the one made for its second agent, likewise.
        self._twins: dict[bytes, bytes] = {}
        self.agents: Mapping[bytes, AgentLink] = MappingProxyType(self._links)

    def claim(self, message: opamp_pb2.AgentToServer, line: Line) -> AgentLink:
        """The agent that a message on this line comes from. Raises `Busy`."""
        spoken = message.instance_uid
        link = line.agents.get(spoken)
        if link is not None and link.line is line and link.connected:
            link.last_seen = time.time()
            return link
        if link is None:
            self._make_room(line)
        link = link or self._find(message, line)
        line.agents[spoken] = line.agents[link.uid] = self._links[link.uid] = link
        if line.transport == "websocket" and link.line is not line:
            self._move(link, line)
        elif line.transport == "http" and link.line is not None:
            self._move(link, None)
        link.transport, link.last_seen = line.transport, time.time()
        return link

    def _make_room(self, line: Line) -> None:
        """Forget who has left this line, if there is no room on it. Raises `Busy`."""
        if len(line.agents) < self._max_line_agents:
            return
        for uid in [uid for uid, link in line.agents.items() if not link.connected]:
            del line.agents[uid]
        if len(line.agents) >= self._max_line_agents:
            raise Busy

    def _find(self, message: opamp_pb2.AgentToServer, line: Line) -> AgentLink:
        uid = message.instance_uid
        if wants_uid(message):
            uid = self._assign(uid)
        link = self._links.get(uid) or self._add(uid)
        second = _is_second(link, message, line)
        if not link.connected or link.line in (None, line) or _continues(link, message):
            return self._twin(link) if second and link.connected else link
        return self._add(self._new_uid())

    def _twin(self, link: AgentLink) -> AgentLink:
        """The agent that shares a uid with this one, until it has heard of its own."""
        known = self._links.get(self._twins.get(link.uid, b""))
        if known is None or known.protocol.took_uid:
            known = self._add(self._new_uid())
            self._twins[link.uid] = known.uid
        return known

    def _assign(self, temporary: bytes) -> bytes:
        while len(self._assigned) >= self._max_agents:
            del self._assigned[next(iter(self._assigned))]
        return self._assigned.setdefault(temporary, self._new_uid())

    def _add(self, uid: bytes) -> AgentLink:
        if len(self._links) >= self._max_agents and not self._forget_oldest():
            raise Busy
        link = self._links[uid] = AgentLink(self._make(uid))
        return link

    def _forget_oldest(self) -> bool:
        """Some at once: to look through all of them for each new agent would hold up all others."""
        gone = (link for link in self._links.values() if not link.connected)
        some = max(1, self._max_agents // 100)
        oldest = heapq.nsmallest(some, gone, key=lambda link: link.last_seen)
        for link in oldest:
            del self._links[link.uid]
            self._twins.pop(link.uid, None)
        return bool(oldest)

    def _move(self, link: AgentLink, line: Line | None) -> None:
        former, link.line = link.line, line
        link.protocol.line_opened()
        if former is not None:
            former.dismiss(link)

    def forget_gone(self, now: float) -> None:
        """Drop agents that have been gone for `KEEP_S`."""
        for uid, link in list(self._links.items()):
            if not link.connected and now - link.last_seen > KEEP_S:
                del self._links[uid]
                self._twins.pop(uid, None)

    def silent(self, now: float, limit_s: float) -> Iterator[AgentLink]:
        """Connected agents that should have spoken within ``limit_s`` and did not."""
        for link in list(self._links.values()):
            promised = link.transport == "http" or link.protocol.beats
            if link.connected and promised and now - link.last_seen > limit_s:
                yield link


def _continues(link: AgentLink, message: opamp_pb2.AgentToServer) -> bool:
    return 0 < message.sequence_num - link.state.sequence_num <= TAKEOVER_NUMBERS


def _is_second(link: AgentLink, message: opamp_pb2.AgentToServer, line: Line) -> bool:
    """Whether a request comes from a second agent that uses this one's uid."""
    if line.transport != "http" or link.protocol.repeats(message):
        return False
    return link.turns.take(message.sequence_num, line.peer)
