"""What happened, as frozen dataclasses. The core returns them; drivers hand them on.

Which side sees which: see the unions at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from llm_observe.opamp.connections import ConnectionOffer
from llm_observe.opamp.values import AgentState, ConfigFile, ErrorKind, ServerCapabilities


@dataclass(frozen=True, slots=True)
class Connected:
    """A line to the server stands; the first report is on its way."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The line to the server is gone. ``reason`` is a sentence for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class ConfigOffered:
    """The server offers a configuration; answer with a `ConfigStatus` that echoes the hash.

    An empty ``files`` is an offer of nothing, not the absence of an offer.
    An offer is reported once, until the server offers another one.
    """

    files: Mapping[str, ConfigFile]
    config_hash: bytes


@dataclass(frozen=True, slots=True)
class ConnectionSettingsOffered:
    """The server offers connections; answer with a `ConnectionStatus` that echoes the hash.

    Holds only the parts that the agent has a capability for; ``left_out`` names the others, where
    the agent reports what becomes of offers. Reported once, as `ConfigOffered`.
    """

    offer: ConnectionOffer
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReportRequested:
    """The server asked for a full report, or for the list of components; it is on its way."""

    full_state: bool
    components: bool


@dataclass(frozen=True, slots=True)
class ServerErrorReceived:
    """The server could not process a message. ``retry_after_s`` is None where it gave no hint."""

    kind: ErrorKind
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class IdentityAssigned:
    """The server gave this agent another instance uid; it is in use from the next message on."""

    instance_uid: bytes


@dataclass(frozen=True, slots=True)
class RestartRequested:
    """The server asks the agent to restart."""


@dataclass(frozen=True, slots=True)
class ServerCapabilitiesChanged:
    """What the server says it can do, when first heard and on each change."""

    capabilities: ServerCapabilities


@dataclass(frozen=True, slots=True)
class HeartbeatChanged:
    """The server set the interval of heartbeats, in seconds; 0 is none."""

    interval_s: float


@dataclass(frozen=True, slots=True)
class CustomCapabilitiesChanged:
    """The custom capabilities of the peer; the newest list replaces the former."""

    capabilities: frozenset[str]


@dataclass(frozen=True, slots=True)
class CustomMessageReceived:
    """A message of a custom capability. ``data`` never shows in a repr."""

    capability: str
    type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Malformed:
    """The peer sent something that the protocol forbids; it was answered or ignored."""

    reason: str


@dataclass(frozen=True, slots=True)
class AgentConnected:
    """An agent spoke on a new line (over HTTP: for the first time since it fell silent)."""


@dataclass(frozen=True, slots=True)
class StatusReported:
    """An agent's state changed. ``changed`` names fields of `AgentState`."""

    state: AgentState
    changed: frozenset[str]


@dataclass(frozen=True, slots=True)
class SequenceBroken:
    """Messages of an agent were lost, or it restarted; it was asked for a full report."""

    expected: int
    received: int


@dataclass(frozen=True, slots=True)
class UidRequested:
    """An agent asks the server to make an instance uid for it."""


@dataclass(frozen=True, slots=True)
class AgentDisconnected:
    """An agent said goodbye, its line broke, or it fell silent. ``reason`` is for people."""

    reason: str


ClientEvent: TypeAlias = (
    Connected
    | Disconnected
    | ConfigOffered
    | ConnectionSettingsOffered
    | ReportRequested
    | ServerErrorReceived
    | IdentityAssigned
    | RestartRequested
    | ServerCapabilitiesChanged
    | HeartbeatChanged
    | CustomCapabilitiesChanged
    | CustomMessageReceived
    | Malformed
)
"""Seen by an agent."""

ServerEvent: TypeAlias = (
    AgentConnected
    | StatusReported
    | SequenceBroken
    | UidRequested
    | CustomMessageReceived
    | AgentDisconnected
    | Malformed
)
"""Seen by a server, each with the agent it belongs to."""

Event: TypeAlias = ClientEvent | ServerEvent
