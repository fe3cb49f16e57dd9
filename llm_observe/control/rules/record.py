"""One agent as the control plane remembers it: only what arrived on the wire, each with its time.

A record is frozen, and can be written to the database and read back, so that a restarted server
shows the agents it knew, offline and with the age of everything it shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

from llm_observe.control.rules.model import (
    OUR_ENTRY,
    SOURCES_ENTRY,
    Acknowledged,
    AgentEvent,
    ComponentView,
    Description,
    Effective,
    HealthView,
    Presence,
)

EVENTS_KEPT = 50
"""How many of its latest events a record holds."""
EVENT_CHARS = 1000
"""How long the text of an event may be."""


@dataclass(frozen=True, slots=True)
class File:
    """One entry of the effective config, as it arrived."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "ser_json_bytes": "base64",
        "val_json_bytes": "base64",
    }

    body: bytes
    content_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """What is known of one agent. ``since``: when its presence last changed."""

    uid: str
    first_seen: float
    last_seen: float
    since: float
    presence: Presence = Presence.CONNECTED
    transport: str = ""
    capabilities: int = 0
    description: Description = field(default_factory=Description)
    health: HealthView = field(default_factory=HealthView)
    components: Mapping[str, ComponentView] | None = None
    components_hash: str = ""
    acknowledged: Acknowledged = field(default_factory=Acknowledged)
    files: Mapping[str, File] | None = None
    files_at: float | None = None
    offered: str = ""
    """Hash of the last config that this server sent it."""
    events: tuple[AgentEvent, ...] = ()

    @property
    def service(self) -> str:
        """Its service name; empty where it did not say."""
        return str(self.description.identifying.get("service.name", ""))

    @property
    def schema_hash(self) -> str:
        """Hash of the settings schema that it understands; empty for foreign agents."""
        settings = (self.components or {}).get("settings")
        return str(settings.metadata.get("schema.hash", "")) if settings else ""

    @property
    def speaks_settings(self) -> bool:
        """Whether it is one of ours: it names our schema, or reports our document."""
        return bool(self.schema_hash) or OUR_ENTRY in (self.files or {})

    @property
    def effective(self) -> Effective:
        """What it says is in force, read from its own report."""
        files = self.files or {}
        return Effective(
            _mapping(files.get(OUR_ENTRY)), _mapping(files.get(SOURCES_ENTRY)) or {}, self.files_at
        )


def _mapping(file: File | None) -> Mapping[str, Any] | None:
    """A JSON entry as a mapping; None where it is absent or something else."""
    return None if file is None else _parsed(file.body)


@lru_cache(maxsize=1024)
def _parsed(body: bytes) -> Mapping[str, Any] | None:
    """Agents of one service report the same bytes; nobody changes what is returned."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def with_event(
    events: tuple[AgentEvent, ...], at: float, kind: str, text: str
) -> tuple[AgentEvent, ...]:
    """Newest first; the oldest go when there are too many, and a long text is cut."""
    return (AgentEvent(at, kind, text[:EVENT_CHARS]), *events)[:EVENTS_KEPT]
