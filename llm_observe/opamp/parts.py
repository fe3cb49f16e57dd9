"""The table of status parts, and what of them the server still has to hear.

The rule (OpAMP, "Agent Status Compression"): an agent's state is a handful of parts. A message
carries each part that changed since the server acknowledged it, whole, and leaves the others out;
a full report carries all. `PARTS` says for each what it is called on both sides and which
capabilities it takes; delta, full report and the server's reading all follow this one table.

The list of available components is the one part with two sizes: its hash by itself, or with the
whole map where the server asked ("Available Components › Initial Handshake").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from llm_observe.opamp import codec, connections_codec
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.interning import Interned
from llm_observe.opamp.values import (
    NO_CAPABILITIES,
    AgentCapabilities,
    AgentState,
    ServerCapabilities,
)

COMPONENTS = "components"
COMPONENT_MAP = "components, whole"
"""The second size of `COMPONENTS`, as an item of what is due."""

_ANY_SERVER = ServerCapabilities(0)


@dataclass(frozen=True, slots=True)
class Part:
    """One row: ``name`` in `AgentState` and in reports, ``field`` of AgentToServer.

    A part is sent only by an agent with the capability ``agent`` and to a server with ``server``;
    a server that has not said what it can do is taken to want it.
    """

    name: str
    field: str
    agent: AgentCapabilities
    server: ServerCapabilities
    to_pb: Callable[[Any], Message]
    from_pb: Callable[[Any], Any]

    def allowed(self, agent: AgentCapabilities, server: ServerCapabilities) -> bool:
        """Whether both sides have what the part takes."""
        return self.agent in agent and (not server or self.server in server)


PARTS = (
    Part(
        "description",
        "agent_description",
        NO_CAPABILITIES,
        _ANY_SERVER,
        codec.description_to_pb,
        codec.description_from_pb,
    ),
    Part(
        "health",
        "health",
        AgentCapabilities.REPORTS_HEALTH,
        _ANY_SERVER,
        codec.health_to_pb,
        codec.health_from_pb,
    ),
    Part(
        "effective_config",
        "effective_config",
        AgentCapabilities.REPORTS_EFFECTIVE_CONFIG,
        ServerCapabilities.ACCEPTS_EFFECTIVE_CONFIG,
        codec.effective_to_pb,
        codec.effective_from_pb,
    ),
    Part(
        "config_status",
        "remote_config_status",
        AgentCapabilities.REPORTS_REMOTE_CONFIG,
        _ANY_SERVER,
        codec.status_to_pb,
        codec.status_from_pb,
    ),
    Part(
        COMPONENTS,
        "available_components",
        AgentCapabilities.REPORTS_AVAILABLE_COMPONENTS,
        _ANY_SERVER,
        codec.components_to_pb,
        codec.components_from_pb,
    ),
    Part(
        "connection_status",
        "connection_settings_status",
        AgentCapabilities.REPORTS_CONNECTION_SETTINGS_STATUS,
        _ANY_SERVER,
        connections_codec.status_to_pb,
        connections_codec.status_from_pb,
    ),
    Part(
        "custom_capabilities",
        "custom_capabilities",
        NO_CAPABILITIES,
        _ANY_SERVER,
        codec.custom_to_pb,
        codec.custom_from_pb,
    ),
)

BY_NAME = {part.name: part for part in PARTS}


SHARED = frozenset({"effective_config", "config_status", COMPONENTS})
"""Parts that are alike for many agents."""


def read_parts(
    message: opamp_pb2.AgentToServer, interned: Interned | None = None
) -> dict[str, Any]:
    """The parts that a message carries, by name. Raises `MalformedMessage`."""
    return {
        part.name: _read(part, getattr(message, part.field), interned)
        for part in PARTS
        if message.HasField(part.field)
    }


def _read(part: Part, pb: Message, interned: Interned | None) -> Any:
    if interned is None or part.name not in SHARED:
        return part.from_pb(pb)
    data = pb.SerializeToString(deterministic=True)
    return interned.value(part.name, data, lambda: part.from_pb(pb), size=len(data))


def is_complete(message: opamp_pb2.AgentToServer) -> bool:
    """Whether a message tells all there is, even to a server that never heard of its sender.

    So does number 0, before which there was nothing to leave out, and any other that carries every
    part the sender's capabilities promise.
    """
    if not message.HasField("agent_description"):
        return False
    capabilities = AgentCapabilities.from_wire(message.capabilities)
    promised = [part for part in PARTS if part.agent and part.agent in capabilities]
    return message.sequence_num == 0 or all(message.HasField(part.field) for part in promised)


def missing_components(state: AgentState) -> bool:
    """Whether only the hash of an agent's components is known."""
    return state.components is not None and state.components.components is None


class Outbox:
    """The truth, and which parts of it the server has not acknowledged.

    A part goes from *due* to *in flight* when it is put into a message, and back if the message
    may have been lost. Values are encoded when reported, so that a wrong one fails in the caller's
    hands; the message around them is composed when it is sent.
    """

    def __init__(self) -> None:
        # Every part ever reported, encoded.
        self._truth: dict[str, Message] = {}
        # What the next message should carry; names of parts, or COMPONENT_MAP.
        self._due: set[str] = set()
        # What was sent and not yet acknowledged.
        self._in_flight: set[str] = set()

    def report(self, name: str, encoded: Message) -> bool:
        """Set a part. False, and nothing is due, where it is what it was."""
        if self._truth.get(name) == encoded:
            return False
        self._truth[name] = encoded
        self._due.add(name)
        return True

    def everything(self) -> None:
        """Make the whole truth due: the server asked, or does not know us."""
        self._due.update(self._truth)

    def regained(self, gained: AgentCapabilities) -> None:
        """Make due what a capability allows anew: the server may have changed meanwhile."""
        names = {part.name for part in PARTS if part.agent & gained}
        self._due |= names & self._truth.keys()

    def component_map(self) -> None:
        """Make the whole list of components due: the server asked for it."""
        if COMPONENTS in self._truth:
            self._due.add(COMPONENT_MAP)

    def acknowledged(self) -> None:
        """What was in flight has arrived, or must not be sent again."""
        self._in_flight.clear()

    def lost(self) -> None:
        """What was in flight may not have arrived."""
        self._due |= self._in_flight
        self._in_flight.clear()

    def due(self, agent: AgentCapabilities, server: ServerCapabilities) -> list[str]:
        """The items to send now, in the order of the table; withheld ones are left out."""
        return [name for name in _items() if name in self._due and _allowed(name, agent, server)]

    def fill(self, message: opamp_pb2.AgentToServer, items: Iterable[str], limit: int) -> None:
        """Put items into a message while it stays within ``limit`` bytes; the rest stays due."""
        for name in items:
            before = opamp_pb2.AgentToServer()
            before.CopyFrom(message)
            self._put(message, name)
            if message.ByteSize() > limit:
                message.CopyFrom(before)
                continue
            self._due.discard(name)
            self._in_flight.add(name)

    def _put(self, message: opamp_pb2.AgentToServer, name: str) -> None:
        part, value = _part(name), self._truth[_part(name).name]
        target = getattr(message, part.field)
        if name == COMPONENTS and not target.components:
            value = opamp_pb2.AvailableComponents(hash=value.hash)  # type: ignore[attr-defined]  # this part's message
        target.CopyFrom(value)
        target.SetInParent()  # an empty part is a statement too

    def copy_truth(self) -> Outbox:
        """A new outbox with the same truth, all of it due."""
        copy = Outbox()
        copy._truth = dict(self._truth)
        copy.everything()
        return copy


def _items() -> Iterator[str]:
    yield COMPONENT_MAP
    yield from BY_NAME


def _part(item: str) -> Part:
    return BY_NAME[COMPONENTS if item == COMPONENT_MAP else item]


def _allowed(item: str, agent: AgentCapabilities, server: ServerCapabilities) -> bool:
    return _part(item).allowed(agent, server)
