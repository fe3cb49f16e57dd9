"""The control plane's words: frozen records, ready for JSON, without rules.

Times are Unix seconds. Uids are UUIDs in their usual text form. Hashes are hex. ``None`` means
"not known" or "not reported", never "zero". These records are what the REST answers, the pages
show and the CLI prints, so a field's sentence is its documentation.

Three truths stay apart on purpose (`Desired`, `Acknowledged`, `Effective`): what we want, what
the agent said about it, and what the agent says is in force. None is ever copied from another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from llm_observe.errors import Problem

T = TypeVar("T")

OUR_ENTRY = "llm-observe"
"""Name of the config map entry that holds our settings document."""
SOURCES_ENTRY = "llm-observe.sources"
"""Name of the effective-config entry that tells each key's layer."""


class Presence(StrEnum):
    """Whether the agent's process is there."""

    CONNECTED = "connected"
    OFFLINE = "offline"
    """It went silent without a word."""
    STOPPED = "stopped"
    """It said goodbye."""


class ConfigState(StrEnum):
    """How an agent stands to what is desired of it; decided by comparing hashes."""

    IN_SYNC = "in sync"
    PENDING = "pending"
    REFUSED = "refused"
    NOT_MANAGED = "not managed"


class AckState(StrEnum):
    """What an agent said about the last remote config it received."""

    NONE = "none"
    APPLYING = "applying"
    APPLIED = "applied"
    FAILED = "failed"


class ProgressState(StrEnum):
    """Where a version stands as a whole."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    PENDING = "pending"
    SUPERSEDED = "superseded"
    NO_AGENTS = "no agents"


class AgentProgressState(StrEnum):
    """Where a version stands with one agent."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    PENDING = "pending"
    OFFLINE = "offline"


class TokenKind(StrEnum):
    """What a token opens: ``ingest`` OpAMP and OTLP, ``admin`` pages and REST. Neither both."""

    INGEST = "ingest"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and where the next ones begin; ``next`` is None on the last page."""

    items: Sequence[T]
    next: str | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which agents a version is for: every attribute of the selector must be equal.

    An empty selector means all agents. A higher priority wins where scopes set the same key.
    """

    selector: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0

    @classmethod
    def of(cls, service: str | None) -> Scope:
        """All agents, or those of one service, which win over all."""
        return cls({"service.name": service}, 100) if service else cls()

    @property
    def service(self) -> str | None:
        """The service this scope is for; None for all agents."""
        return self.selector.get("service.name")


# ── agents ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class HealthView:
    """Health as the agent reported it; ``healthy`` is None where it never did."""

    healthy: bool | None = None
    status: str = ""
    last_error: str = ""
    started: float | None = None
    at: float | None = None
    components: Mapping[str, HealthView] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Further facts, such as how many spans a destination was sent."""


@dataclass(frozen=True, slots=True)
class ConfigSummary:
    """How an agent stands to what is desired, with the sentence that says why."""

    state: ConfigState = ConfigState.NOT_MANAGED
    version: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AgentSummary:
    """One row of the agent list. ``type``: ``llm-observe``, ``collector`` or ``other``."""

    uid: str
    service: str
    namespace: str
    version: str
    type: str
    state: Presence
    connected: bool
    transport: str
    first_seen: float
    last_seen: float
    host: str
    pid: int | None
    health: HealthView
    config: ConfigSummary
    capture_level: str | None
    """Capture level in force, as reported; None where unknown or foreign."""
    full_capture: bool
    """Whether it says that anything is recorded at level full: by default, for a part, by a rule or a grant."""
    full_capture_until: float | None
    """When that ends by itself; None where it does not."""
    sampling_ratio: float | None
    """Sampling ratio in force, as reported; None where unknown or foreign."""
    capabilities: Sequence[str]


@dataclass(frozen=True, slots=True)
class Description:
    """Attributes as they arrived."""

    identifying: Mapping[str, Any] = field(default_factory=dict)
    non_identifying: Mapping[str, Any] = field(default_factory=dict)
    at: float | None = None


@dataclass(frozen=True, slots=True)
class ComponentView:
    """One available component, with its metadata and what it contains."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    components: Mapping[str, ComponentView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InstrumentorView:
    """One library that can be traced in that process."""

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FileView:
    """One entry of the effective config as text; ``text`` is None where it is no text."""

    name: str
    content_type: str
    size: int
    text: str | None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Desired:
    """What we want of this agent: scopes merged, without keys that it does not know."""

    document: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None
    """Newest version among the scopes that match; None where nothing was ever set."""
    hash: str = ""
    since: float | None = None
    left_out: Sequence[str] = ()
    """Paths that the agent's schema lacks and that are therefore not sent."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The agent's own word about the last remote config it received."""

    hash: str = ""
    state: AckState = AckState.NONE
    error: str = ""
    problems: tuple[Problem, ...] = ()
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Effective:
    """What the agent says is in force. ``document`` is None where it did not say."""

    document: Mapping[str, Any] | None = None
    sources: Mapping[str, Any] = field(default_factory=dict)
    at: float | None = None


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key side by side. ``desired`` and ``effective`` are None where absent."""

    path: str
    desired: Any
    effective: Any
    layer: str | None
    since: float | None
    default: Any


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """Something that happened to an agent, newest first in lists."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDetail(AgentSummary):
    """All that is known of one agent: its row in the list, and the rest."""

    description: Description
    components: Mapping[str, ComponentView] | None
    components_hash: str
    instrumentors: Sequence[InstrumentorView]
    desired: Desired
    acknowledged: Acknowledged
    effective: Effective
    keys: Sequence[KeyRow]
    files: Sequence[FileView]
    events: Sequence[AgentEvent]
    manageable: bool
    """Whether our settings can be offered to it."""
    reason: str
    """Why not, in a sentence; empty where it can."""


# ── settings ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ChangeView:
    """One key that a version changed; None where it was or is absent."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable settings document of one scope."""

    version: int
    scope: Scope
    document: Mapping[str, Any]
    hash: str
    at: float
    author: str = ""
    comment: str = ""
    undone_of: int | None = None
    """The version whose effect this one takes back."""


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """One line of the history. ``undone_by`` is the newest version that took this one back."""

    version: int
    service: str | None
    author: str
    at: float
    comment: str
    hash: str
    changes: Sequence[ChangeView]
    undone_of: int | None = None
    undone_by: int | None = None
    current: bool = False
    """Whether it is what its scope wants now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDetail(VersionSummary):
    """A version with its document and what it changed in its scope."""

    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Skipped:
    """An agent that a change does not reach (or not whole), and why."""

    uid: str
    service: str
    reason: str


@dataclass(frozen=True, slots=True)
class SettingsView:
    """What one scope wants now; ``version`` is None where nothing was set yet."""

    service: str | None
    document: Mapping[str, Any]
    version: int | None
    hash: str
    at: float | None
    matched: Sequence[str]


@dataclass(frozen=True, slots=True)
class Edit:
    """A change to be made: paths to set and to unset, or a whole document."""

    service: str | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    unset: Sequence[str] = ()
    document: Mapping[str, Any] | None = None
    """If not None it replaces what the scope wants; ``set`` and ``unset`` are applied after it."""
    comment: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """What a change does, or would do: ``version`` is None in a preview."""

    version: int | None
    service: str | None
    document: Mapping[str, Any]
    changes: Sequence[ChangeView]
    agents: Sequence[str]
    """Uids of the connected agents that get it."""
    skipped: Sequence[Skipped]
    loosens_capture: bool
    """Whether any agent would record more than now."""
    undone_of: int | None = None
    refusing: Sequence[Skipped] = ()
    """Connected agents that will refuse it, by what they report of themselves, and why."""


@dataclass(frozen=True, slots=True)
class AgentProgress:
    """One agent's part in a version."""

    uid: str
    service: str
    state: AgentProgressState
    at: float | None = None
    error: str = ""
    problems: Sequence[Problem] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a version has come."""

    version: int
    state: ProgressState
    agents: Sequence[AgentProgress]


# ── the server itself ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token without its value."""

    id: int
    kind: TokenKind
    name: str
    created: float
    last_used: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken(TokenView):
    """A token just made; the only time its value is shown."""

    value: str


@dataclass(frozen=True, slots=True)
class AgentCounts:
    """Agents by presence and by state of config."""

    connected: int
    total: int
    in_sync: int = 0
    pending: int = 0
    refused: int = 0
    not_managed: int = 0
    unhealthy: int = 0
    capturing_content: int = 0
    """Connected agents that record prompts (``redacted`` or ``full``)."""


@dataclass(frozen=True, slots=True)
class StorageView:
    """Where state is kept and how full it is."""

    data_dir: str
    control_bytes: int
    spans_bytes: int
    spans: int


@dataclass(frozen=True, slots=True)
class AuthView:
    """Who is let in: each of pages and ingest is ``open`` (loopback only) or ``token``."""

    pages: Literal["open", "token"]
    ingest: Literal["open", "token"]


@dataclass(frozen=True, slots=True)
class StatusView:
    """The control plane's own state."""

    version: str
    started: float
    now: float
    agents: AgentCounts
    spans: int
    storage: StorageView
    auth: AuthView
    schema_hash: str


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the server is, counted since it started; ``waiting`` and ``watchers`` are now."""

    writes: int
    commits: int
    waiting: int
    intakes: int
    watchers: int


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who did what to which object."""

    at: float
    actor: str
    action: str
    object: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something changed: ``topic`` is agents, settings or traces; an empty key means "anything"."""

    topic: Literal["agents", "settings", "traces"]
    key: str = ""
