"""How the picture of an agent changes: ``(record, event, now) → record``. Pure.

Only what arrived on the wire enters a record. Desired settings never do, so "effective" can not
be a copy of "desired" by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from llm_observe.control.rules.arrived import component, health, masked, plain, problems_of
from llm_observe.control.rules.model import (
    OUR_ENTRY,
    SOURCES_ENTRY,
    Acknowledged,
    AckState,
    AgentEvent,
    Description,
    Presence,
)
from llm_observe.control.rules.record import AgentRecord, File, with_event
from llm_observe.opamp.events import (
    AgentConnected,
    AgentDisconnected,
    Malformed,
    SequenceBroken,
    ServerEvent,
    StatusReported,
)
from llm_observe.opamp.values import AgentState, ConfigState

_ACK_STATES = {
    ConfigState.UNSET: AckState.NONE,
    ConfigState.APPLIED: AckState.APPLIED,
    ConfigState.APPLYING: AckState.APPLYING,
    ConfigState.FAILED: AckState.FAILED,
}
GOODBYE = "the agent disconnected"
"""How `llm_observe.opamp.server` calls an ``agent_disconnect`` message."""
ERROR_CHARS = 16_384
"""How much of an error message is kept."""

_ACK_WORDS = {
    AckState.APPLIED: ("acknowledged", "applied config {hash}"),
    AckState.FAILED: ("refused", "refused config {hash}: {error}"),
    AckState.APPLYING: ("applying", "is applying config {hash}"),
}


def first_contact(uid: str, transport: str, now: float) -> AgentRecord:
    """An agent of which nothing is known but that it is there."""
    return AgentRecord(uid=uid, first_seen=now, last_seen=now, since=now, transport=transport)


def seen(record: AgentRecord, now: float) -> AgentRecord:
    """It spoke, and said nothing new."""
    return replace(record, last_seen=max(now, record.last_seen))


def fold(record: AgentRecord, event: ServerEvent, now: float) -> AgentRecord:
    """The record after an event; events that tell nothing about the agent only move its age."""
    rule = _RULES.get(type(event))
    return rule(record, event, now) if rule else seen(record, now)


def offered(record: AgentRecord, config_hash: str, version: int | None, now: float) -> AgentRecord:
    """A config was handed to the line; whether it arrives, only the agent can say."""
    events = with_event(
        record.events, now, "offered", f"was sent config {config_hash[:8]} (version {version})"
    )
    return replace(record, offered=config_hash, events=events)


def after_restart(record: AgentRecord, now: float) -> AgentRecord:
    """A record read from disk: nobody is connected to a server that has just started."""
    if record.presence is not Presence.CONNECTED:
        return record
    return replace(record, presence=Presence.OFFLINE, since=record.last_seen, offered="")


def _connected(record: AgentRecord, _: AgentConnected, now: float) -> AgentRecord:
    events = with_event(
        record.events, now, "connected", f"connected over {record.transport or 'a new line'}"
    )
    return replace(
        seen(record, now),
        presence=Presence.CONNECTED,
        since=now,
        offered="",
        events=events,
    )


def _disconnected(record: AgentRecord, gone: AgentDisconnected, now: float) -> AgentRecord:
    """A line that ends does not move "last seen": the agent did not speak."""
    stopped = is_goodbye(gone.reason)
    events = with_event(record.events, now, "stopped" if stopped else "offline", gone.reason)
    return replace(
        record,
        presence=Presence.STOPPED if stopped else Presence.OFFLINE,
        since=now,
        events=events,
    )


def is_goodbye(reason: str) -> bool:
    """Whether the agent left in good order (OpAMP, "AgentDisconnect")."""
    return reason == GOODBYE


def _reported(record: AgentRecord, event: StatusReported, now: float) -> AgentRecord:
    record = seen(record, now)
    for name in sorted(event.changed & _PARTS.keys()):
        record = _PARTS[name](record, event.state, now)
    return record


def _malformed(record: AgentRecord, event: Malformed, now: float) -> AgentRecord:
    text = f"sent something wrong: {event.reason}"
    return replace(seen(record, now), events=with_event(record.events, now, "malformed", text))


def _gap(record: AgentRecord, event: SequenceBroken, now: float) -> AgentRecord:
    text = f"message {event.received} came instead of {event.expected}; asked for everything"
    return replace(seen(record, now), events=with_event(record.events, now, "gap", text))


def _description(record: AgentRecord, state: AgentState, now: float) -> AgentRecord:
    told = state.description
    if told is None:
        return replace(record, description=Description(at=now))
    return replace(
        record, description=Description(plain(told.identifying), plain(told.non_identifying), now)
    )


def _capabilities(record: AgentRecord, state: AgentState, now: float) -> AgentRecord:
    return replace(record, capabilities=int(state.capabilities))


def _health(record: AgentRecord, state: AgentState, now: float) -> AgentRecord:
    told = health(state.health, now)
    changed = replace(record, health=told)
    if told.healthy == record.health.healthy or told.healthy is None:
        return changed
    kind = "healthy" if told.healthy else "unhealthy"
    text = "became healthy" if told.healthy else f"is unhealthy: {told.last_error or told.status}"
    return replace(changed, events=with_event(record.events, now, kind, text))


def _effective(record: AgentRecord, state: AgentState, now: float) -> AgentRecord:
    told = state.effective_config
    files = None if told is None else {name: _file(name, told[name]) for name in told}
    return replace(record, files=files, files_at=now)


def _file(name: str, file: Any) -> File:
    """Our own entries arrive masked; what others report is masked before it is kept."""
    body = file.body if name in (OUR_ENTRY, SOURCES_ENTRY) else masked(file.body)
    return File(body, file.content_type)


def _config_status(record: AgentRecord, state: AgentState, now: float) -> AgentRecord:
    told = state.config_status
    if told is None:
        return replace(record, acknowledged=Acknowledged())
    error = told.error[:ERROR_CHARS]
    said = Acknowledged(told.hash.hex(), _ACK_STATES[told.state], error, problems_of(error), now)
    if replace(said, at=record.acknowledged.at) == record.acknowledged:
        return record  # said again; the first time counts
    return replace(record, acknowledged=said, events=_noted(record, said, now))


def _noted(record: AgentRecord, said: Acknowledged, now: float) -> tuple[AgentEvent, ...]:
    if said.state not in _ACK_WORDS:
        return record.events
    kind, words = _ACK_WORDS[said.state]
    text = words.format(hash=said.hash[:8], error=said.error)
    return with_event(record.events, now, kind, text)


def _components(record: AgentRecord, state: AgentState, now: float) -> AgentRecord:
    told = state.components
    if told is None:
        return replace(record, components=None, components_hash="")
    tree = told.components
    found = None if tree is None else {name: component(tree[name]) for name in tree}
    return replace(record, components=found, components_hash=told.hash.hex())


_PARTS: Mapping[str, Callable[[AgentRecord, AgentState, float], AgentRecord]] = {
    "description": _description,
    "capabilities": _capabilities,
    "health": _health,
    "effective_config": _effective,
    "config_status": _config_status,
    "components": _components,
}
_RULES: Mapping[type, Callable[[AgentRecord, Any, float], AgentRecord]] = {
    AgentConnected: _connected,
    AgentDisconnected: _disconnected,
    StatusReported: _reported,
    Malformed: _malformed,
    SequenceBroken: _gap,
}
