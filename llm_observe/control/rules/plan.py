"""What is wanted of one agent, whether it can be offered, and how the agent stands to it. Pure.

Hashes decide, never statuses: a config that failed is not sent again while its hash is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm_observe.control.rules import desired as rules
from llm_observe.control.rules.model import (
    AckState,
    ConfigState,
    ConfigSummary,
    Desired,
    Presence,
    Skipped,
    Version,
)
from llm_observe.control.rules.record import AgentRecord
from llm_observe.opamp.values import AgentCapabilities
from llm_observe.settings.documents import document_hash, join_path


@dataclass(frozen=True, slots=True)
class Offer:
    """A config that an agent should be sent now."""

    document: Mapping[str, Any]
    hash: str
    version: int | None


def refusal(record: AgentRecord) -> str:
    """Why our settings are not offered to this agent, in a sentence; empty where they can be."""
    if not record.capabilities & AgentCapabilities.ACCEPTS_REMOTE_CONFIG:
        return "it does not accept remote configuration (no AcceptsRemoteConfig capability)"
    if not record.speaks_settings:
        if record.components is None and record.files is None:
            return "it has not told yet which settings it understands"
        return "it is not an llm-observe agent: it reports neither our settings nor their schema"
    return ""


def desired(record: AgentRecord, heads: Iterable[Version], schema_hash: str) -> Desired:
    """What is wanted of an agent, without the keys that it lacks."""
    wanted = rules.wanted(heads, record.description.identifying)
    if wanted is None or refusal(record):
        return Desired()
    document, left_out = rules.for_schema(
        wanted.document,
        same_schema=record.schema_hash == schema_hash,
        in_force=record.effective.document,
    )
    return Desired(document, wanted.version, document_hash(document).hex(), wanted.since, left_out)


def offer(record: AgentRecord, wanted: Desired) -> Offer | None:
    """The config to send now; None where the agent received exactly that, or nothing is wanted."""
    if wanted.version is None or wanted.hash == record.acknowledged.hash:
        return None
    return Offer(wanted.document, wanted.hash, wanted.version)


def stand(record: AgentRecord, wanted: Desired) -> ConfigSummary:
    """How an agent stands to what is wanted."""
    reason = refusal(record)
    if reason or wanted.version is None:
        return ConfigSummary(reason=reason or _nothing_set(record))
    state, reason = _by_hash(record, wanted)
    return ConfigSummary(state, wanted.version, reason)


def _nothing_set(record: AgentRecord) -> str:
    if record.acknowledged.hash:
        return "nothing was set for it here; it keeps a config that it got from elsewhere"
    return "nothing was set for it yet; it runs on its own settings"


_SAID = {
    AckState.APPLIED: (ConfigState.IN_SYNC, "it applied what is wanted"),
    AckState.FAILED: (ConfigState.REFUSED, "it refused; what held before holds on"),
    AckState.APPLYING: (ConfigState.PENDING, "it is applying it"),
    AckState.NONE: (ConfigState.PENDING, "it received it and has not said what became of it"),
}


def _by_hash(record: AgentRecord, wanted: Desired) -> tuple[ConfigState, str]:
    if record.acknowledged.hash == wanted.hash:
        return _SAID[record.acknowledged.state]
    if record.presence is not Presence.CONNECTED:
        return ConfigState.PENDING, "it is not connected; it gets this when it connects"
    if not record.capabilities & AgentCapabilities.REPORTS_REMOTE_CONFIG:
        return ConfigState.PENDING, "it does not report what became of a config"
    if record.offered == wanted.hash:
        return ConfigState.PENDING, "it was sent, and has not answered"
    return ConfigState.PENDING, "it has not been sent yet"


def refusing(record: AgentRecord, document: Mapping[str, Any]) -> Skipped | None:
    """Why an agent will refuse a document, as far as what it reports tells; None where it may not.

    It refuses detectors and client libraries that it does not have. One that reports none is not
    judged.
    """
    lacks = [
        f"{path} (not among its {what})"
        for what, path, name in _needs(document)
        if (there := reported(record, what)) is not None and name not in there
    ]
    return Skipped(record.uid, record.service, ", ".join(lacks)) if lacks else None


def _needs(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Group of components, path and name of what a document asks for by name."""
    for name, choice in document.get("redaction", {}).get("detectors", {}).items():
        if choice.get("enabled", True):
            yield "detectors", join_path(("redaction", "detectors", name)), name
    instrumentation = document.get("instrumentation", {})
    for name in instrumentation.get("providers", {}):
        yield "instrumentors", join_path(("instrumentation", "providers", name)), name
    for name, switch in instrumentation.get("others", {}).items():
        if switch.get("enabled"):
            yield "instrumentors", join_path(("instrumentation", "others", name)), name


def reported(record: AgentRecord, what: str) -> Collection[str] | None:
    """Names of an agent's components of one group; None where it told none."""
    group = (record.components or {}).get(what)
    return None if group is None or not group.components else group.components


def skipped(record: AgentRecord, changed: Iterable[str], wanted: Desired) -> Skipped | None:
    """Why a change does not reach an agent, or not whole; None where it does."""
    reason = refusal(record)
    lacking = sorted(set(changed) & set(wanted.left_out))
    if not reason and lacking:
        keys = ", ".join(lacking)
        reason = f"its release does not know {keys} (schema {record.schema_hash or 'unknown'})"
    return Skipped(record.uid, record.service, reason) if reason else None
