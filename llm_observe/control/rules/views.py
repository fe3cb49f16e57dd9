"""Records as they are shown: rows of the agent list, the agent page, keys side by side. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from llm_observe.control.rules import grants, plan
from llm_observe.control.rules.arrived import capability_names, number
from llm_observe.control.rules.model import (
    AgentCounts,
    AgentDetail,
    AgentSummary,
    ConfigState,
    Desired,
    Effective,
    FileView,
    InstrumentorView,
    KeyRow,
    Presence,
)
from llm_observe.control.rules.record import AgentRecord
from llm_observe.settings.documents import flatten, split_path
from llm_observe.settings.layers import as_document
from llm_observe.settings.model import Destination, Settings

MAX_FILE_CHARS = 256 * 1024
"""How much of one config file is shown."""

_DEFAULTS: Mapping[str, Any] = flatten(as_document(Settings()))
_DESTINATION: Mapping[str, Any] = {
    f.name: list(v) if isinstance(v := getattr(Destination(), f.name), tuple) else v
    for f in dataclasses.fields(Destination)
}
_COLLECTOR_PARTS = frozenset({"receivers", "processors", "exporters", "extensions", "connectors"})
_CONTENT_LEVELS = ("redacted", "full")


def summary(record: AgentRecord, wanted: Desired) -> AgentSummary:
    """One row of the agent list."""
    return AgentSummary(**_row(record, wanted))


def _row(record: AgentRecord, wanted: Desired) -> dict[str, Any]:
    told, more = record.description.identifying, record.description.non_identifying
    document, full = record.effective.document or {}, grants.full_capture(record)
    return {
        "uid": record.uid,
        "service": record.service,
        "namespace": str(told.get("service.namespace", "")),
        "version": str(told.get("service.version", "")),
        "type": kind(record),
        "state": record.presence,
        "connected": record.presence is Presence.CONNECTED,
        "transport": record.transport,
        "first_seen": record.first_seen,
        "last_seen": record.last_seen,
        "host": str(more.get("host.name", "")),
        "pid": _whole(more.get("process.pid")),
        "health": record.health,
        "config": plan.stand(record, wanted),
        "capture_level": _text(_inner(document, "capture", "level")),
        "full_capture": full.on,
        "full_capture_until": full.until,
        "sampling_ratio": number(_inner(document, "sampling", "ratio")),
        "capabilities": capability_names(record.capabilities),
    }


def detail(record: AgentRecord, wanted: Desired) -> AgentDetail:
    """All that is known of one agent."""
    reason = plan.refusal(record)
    return AgentDetail(
        **_row(record, wanted),
        description=record.description,
        components=record.components,
        components_hash=record.components_hash,
        instrumentors=instrumentors(record),
        desired=wanted,
        acknowledged=record.acknowledged,
        effective=record.effective,
        keys=keys(wanted, record.effective),
        files=files(record),
        events=record.events,
        manageable=not reason,
        reason=reason,
    )


def kind(record: AgentRecord) -> str:
    """``llm-observe``, ``collector`` or ``other``, by what it reports."""
    if record.speaks_settings:
        return "llm-observe"
    parts = (record.components or {}).keys()
    named = record.service.startswith("otelcol") or "collector" in record.service
    return "collector" if named or parts & _COLLECTOR_PARTS else "other"


def keys(wanted: Desired, effective: Effective) -> list[KeyRow]:
    """Every key side by side, in the document's order; named destinations sorted by name.

    Empty for an agent that reports no document of ours and of which nothing is wanted.
    """
    desired, in_force = flatten(wanted.document), flatten(effective.document or {})
    if not desired and effective.document is None:
        return []
    paths = {**_DEFAULTS, **dict.fromkeys(sorted({*desired, *in_force}))}
    return [
        _key(path, desired, in_force, effective.sources.get(path))
        for path in sorted(paths, key=_order)
    ]


def _order(path: str) -> tuple[int, str]:
    order = list(_SECTIONS)
    head = split_path(path)[0]
    return (order.index(head) if head in order else len(order), path)


_SECTIONS = tuple(f.name for f in dataclasses.fields(Settings))


def _key(path: str, desired: Mapping[str, Any], in_force: Mapping[str, Any], source: Any) -> KeyRow:
    known = source if isinstance(source, Mapping) else {}
    return KeyRow(
        path,
        desired.get(path),
        in_force.get(path),
        _text(known.get("layer")),
        number(known.get("since")),
        _default(path),
    )


def _default(path: str) -> Any:
    names = split_path(path)
    if names[0] == "destinations" and len(names) == 3:
        return _DESTINATION.get(names[2]) or None
    return _DEFAULTS.get(path)


def files(record: AgentRecord) -> list[FileView]:
    """Every entry of the effective config as text."""
    return [
        _file(name, file.body, file.content_type) for name, file in (record.files or {}).items()
    ]


def _file(name: str, body: bytes, content_type: str) -> FileView:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return FileView(name, content_type, len(body), None)
    return FileView(
        name, content_type, len(body), text[:MAX_FILE_CHARS], len(text) > MAX_FILE_CHARS
    )


def instrumentors(record: AgentRecord) -> list[InstrumentorView]:
    """The libraries that can be traced in that process."""
    group = (record.components or {}).get("instrumentors")
    return [
        InstrumentorView(
            name,
            *(str(part.metadata.get(word) or "") for word in ("version", "state", "reason")),
        )
        for name, part in sorted(group.components.items() if group else ())
    ]


def counts(rows: Iterable[AgentSummary]) -> AgentCounts:
    """Agents by presence; config, health and capture of the connected ones."""
    rows = list(rows)
    here = [row for row in rows if row.connected]
    by_state = {state: sum(r.config.state is state for r in here) for state in ConfigState}
    return AgentCounts(
        connected=len(here),
        total=len(rows),
        in_sync=by_state[ConfigState.IN_SYNC],
        pending=by_state[ConfigState.PENDING],
        refused=by_state[ConfigState.REFUSED],
        not_managed=by_state[ConfigState.NOT_MANAGED],
        unhealthy=sum(row.health.healthy is False for row in here),
        capturing_content=sum(
            row.full_capture or row.capture_level in _CONTENT_LEVELS for row in here
        ),
    )


def _inner(document: Mapping[str, Any], section: str, name: str) -> Any:
    found = document.get(section)
    return found.get(name) if isinstance(found, Mapping) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
