"""What the two sides tell each other, as frozen values: no protobuf in sight.

The words are OpAMP's. Mappings and sequences passed in are read once, when reported; changing them
afterwards changes nothing. Bodies of configurations never show in a repr: they may hold secrets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TypeAlias, Union

Value: TypeAlias = Union[  # noqa: UP007  # a recursive alias needs the spelling that takes a string
    str, bool, int, float, bytes, Sequence["Value"], Mapping[str, "Value"], None
]
"""An attribute's value: OpenTelemetry's AnyValue of every kind."""

UID_BYTES = 16
"""Length of an instance uid (OpAMP, "AgentToServer.instance_uid")."""


class AgentCapabilities(IntFlag):
    """What an agent can do (OpAMP, "AgentToServer.capabilities")."""

    REPORTS_STATUS = 0x1
    ACCEPTS_REMOTE_CONFIG = 0x2
    REPORTS_EFFECTIVE_CONFIG = 0x4
    ACCEPTS_PACKAGES = 0x8
    REPORTS_PACKAGE_STATUSES = 0x10
    REPORTS_OWN_TRACES = 0x20
    REPORTS_OWN_METRICS = 0x40
    REPORTS_OWN_LOGS = 0x80
    ACCEPTS_OPAMP_CONNECTION_SETTINGS = 0x100
    ACCEPTS_OTHER_CONNECTION_SETTINGS = 0x200
    ACCEPTS_RESTART_COMMAND = 0x400
    REPORTS_HEALTH = 0x800
    REPORTS_REMOTE_CONFIG = 0x1000
    REPORTS_HEARTBEAT = 0x2000
    REPORTS_AVAILABLE_COMPONENTS = 0x4000
    REPORTS_CONNECTION_SETTINGS_STATUS = 0x8000

    @classmethod
    def from_wire(cls, bits: int) -> AgentCapabilities:
        """The defined bits; what a later version may define is left out."""
        return cls(bits & ALL_AGENT_CAPABILITIES)


class ServerCapabilities(IntFlag):
    """What a server can do (OpAMP, "ServerToAgent.capabilities"). 0 from a peer means: not said."""

    ACCEPTS_STATUS = 0x1
    OFFERS_REMOTE_CONFIG = 0x2
    ACCEPTS_EFFECTIVE_CONFIG = 0x4
    OFFERS_PACKAGES = 0x8
    ACCEPTS_PACKAGES_STATUS = 0x10
    OFFERS_CONNECTION_SETTINGS = 0x20
    ACCEPTS_CONNECTION_SETTINGS_REQUEST = 0x40

    @classmethod
    def from_wire(cls, bits: int) -> ServerCapabilities:
        """The defined bits; what a later version may define is left out."""
        return cls(bits & ALL_SERVER_CAPABILITIES)


NO_CAPABILITIES = AgentCapabilities(0)
ALL_AGENT_CAPABILITIES = sum(AgentCapabilities)
ALL_SERVER_CAPABILITIES = sum(ServerCapabilities)


class ConfigState(IntEnum):
    """How far an agent got with the configuration it was offered (OpAMP, "RemoteConfigStatus")."""

    UNSET = 0
    APPLIED = 1
    APPLYING = 2
    FAILED = 3

    @classmethod
    def from_wire(cls, number: int) -> ConfigState:
        """The state; one that a later version may define is UNSET."""
        return cls(number) if number in cls._value2member_map_ else cls.UNSET


class ErrorKind(IntEnum):
    """Why a server refused (OpAMP, "ServerErrorResponse.type")."""

    UNKNOWN = 0
    BAD_REQUEST = 1
    UNAVAILABLE = 2

    @classmethod
    def from_wire(cls, number: int) -> ErrorKind:
        """The kind; one that a later version may define is UNKNOWN."""
        return cls(number) if number in cls._value2member_map_ else cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One named entry of a configuration; the bytes are the agent's own business."""

    body: bytes = b""
    content_type: str = ""

    def __repr__(self) -> str:
        """Size, type and a short hash; never the content."""
        digest = hashlib.sha256(self.body).hexdigest()[:8]
        return f"ConfigFile({len(self.body)} bytes, {self.content_type!r}, sha256 {digest}…)"


@dataclass(frozen=True, slots=True)
class AgentDescription:
    """Who the agent is. Keys follow OpenTelemetry's resource conventions."""

    identifying: Mapping[str, Value] = field(default_factory=dict)
    non_identifying: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """How the agent, or one component of it, is doing (OpAMP, "ComponentHealth").

    ``start_time_unix_nano`` is 0 while it does not run; ``status`` is free text.
    """

    healthy: bool = True
    start_time_unix_nano: int = 0
    last_error: str = ""
    status: str = ""
    status_time_unix_nano: int = 0
    components: Mapping[str, Health] = field(default_factory=dict)
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConfigStatus:
    """What became of the last *received* offer: after a refusal ``hash`` stays the refused one's."""

    hash: bytes = b""
    state: ConfigState = ConfigState.UNSET
    error: str = ""


@dataclass(frozen=True, slots=True)
class Component:
    """A component that an agent has on board, with what it consists of."""

    metadata: Mapping[str, Value] = field(default_factory=dict)
    components: Mapping[str, Component] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Components:
    """What an agent has on board. ``components`` is None where only the hash is known so far."""

    hash: bytes
    components: Mapping[str, Component] | None = None


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """What became of the last connection settings received (OpAMP, "ConnectionSettingsStatus")."""

    hash: bytes = b""
    state: ConfigState = ConfigState.UNSET
    error: str = ""


@dataclass(frozen=True, slots=True)
class AgentState:
    """What a server knows of an agent: exactly what arrived on the wire, nothing else.

    None means: never reported. `sequence_num` is that of the newest message, -1 before the first.
    """

    description: AgentDescription | None = None
    health: Health | None = None
    effective_config: Mapping[str, ConfigFile] | None = None
    config_status: ConfigStatus | None = None
    components: Components | None = None
    connection_status: ConnectionStatus | None = None
    custom_capabilities: frozenset[str] | None = None
    capabilities: AgentCapabilities = NO_CAPABILITIES
    sequence_num: int = -1
