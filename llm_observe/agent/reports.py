"""What this process tells a control plane about itself, as OpAMP values. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource

from llm_observe.agent.identity import identifying, non_identifying
from llm_observe.agent.offers import ENTRY
from llm_observe.opamp import AgentDescription, Component, Components, ConfigFile, Health
from llm_observe.settings.layers import Resolved
from llm_observe.settings.schema import schema_hash
from llm_observe.tracing.export.status import DestinationStatus, PipelineStatus
from llm_observe.tracing.instrument import InstrumentorInfo

SOURCES = f"{ENTRY}.sources"
"""Name of the effective-config entry that says which layer each value came from."""

_JSON = "application/json"


def description(resource: Resource) -> AgentDescription:
    """Identifying and other attributes, equal to those on every span."""
    return AgentDescription(
        identifying=identifying(resource), non_identifying=non_identifying(resource)
    )


def effective_config(resolved: Resolved) -> dict[str, ConfigFile]:
    """Every key in force, and where each came from. Headers are references, never secrets."""
    sources = {
        path: {"layer": str(source.layer), "since": source.since}
        for path, source in resolved.sources.items()
    }
    return {
        ENTRY: ConfigFile(_json(resolved.document), _JSON),
        SOURCES: ConfigFile(_json(sources), _JSON),
    }


def components(instrumentors: Iterable[InstrumentorInfo]) -> Components:
    """The settings schema and the instrumentors, hashed so that equal sets have equal hashes."""
    libraries = {info.library: Component(metadata=_instrumentor(info)) for info in instrumentors}
    tree = {
        "settings": Component(metadata={"schema.hash": schema_hash()}),
        "instrumentors": Component(metadata={}, components=libraries),
    }
    plain = {name: dict(component.metadata) for name, component in sorted(libraries.items())}
    digest = hashlib.sha256(_json({"schema": schema_hash(), "instrumentors": plain})).digest()
    return Components(hash=digest, components=tree)


def health(status: PipelineStatus, troubles: Iterable[str], start_ns: int, now_ns: int) -> Health:
    """Healthy while every destination delivers and nothing of ours is broken."""
    destinations = {
        name: _destination_health(item, start_ns, now_ns)
        for name, item in status.destinations.items()
    }
    reasons = [*troubles]
    reasons += [
        f"destination {n}: {h.last_error}" for n, h in destinations.items() if not h.healthy
    ]
    return Health(
        healthy=not reasons,
        start_time_unix_nano=start_ns,
        last_error="; ".join(reasons),
        status="degraded" if reasons else "ok",
        status_time_unix_nano=now_ns,
        components={f"destination:{name}": item for name, item in destinations.items()},
    )


def _destination_health(status: DestinationStatus, start_ns: int, now_ns: int) -> Health:
    metrics = status.metrics.state
    notes = [] if metrics in {"on", "off"} else [f"metrics are off: {metrics}"]
    if not status.healthy:
        notes.append(status.last_error)
    return Health(
        healthy=status.healthy,
        start_time_unix_nano=start_ns,
        last_error="; ".join(notes),
        status="ok" if status.healthy else "failing",
        status_time_unix_nano=now_ns,
        attributes={
            "sent": status.sent,
            "failed": status.failed,
            "queued": status.queued,
            "dropped": status.dropped,
        },
    )


def _instrumentor(info: InstrumentorInfo) -> dict[str, str]:
    metadata = {"version": info.version, "state": info.state, "reason": info.reason}
    return {name: value for name, value in metadata.items() if value}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
