"""What this process tells a control plane about itself, as OpAMP values. Pure."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from opentelemetry.sdk.resources import Resource

from llm_observe.agent.granting import InForce
from llm_observe.agent.identity import identifying, non_identifying
from llm_observe.agent.lastgood import RemoteState
from llm_observe.agent.offers import ENTRY
from llm_observe.opamp import (
    AgentDescription,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
)
from llm_observe.settings.schema import schema_hash
from llm_observe.tracing.wrapping.instrument import InstrumentorInfo

_SAMPLING = "sampling"
SOURCES = f"{ENTRY}.sources"
"""Name of the effective-config entry that says which layer each value came from."""

_JSON = "application/json"


def description(resource: Resource) -> AgentDescription:
    """Identifying and other attributes, equal to those on every span."""
    return AgentDescription(
        identifying=identifying(resource), non_identifying=non_identifying(resource)
    )


def effective_config(now: InForce, *, samples: bool = True) -> dict[str, ConfigFile]:
    """Every key in force, and where each came from. Headers are references, never secrets.

    ``samples`` False: a tracer provider that is not ours does, and nothing of ours is in force.
    """
    document = {name: part for name, part in now.document.items() if samples or name != _SAMPLING}
    sources = {
        path: source
        for path, source in now.sources.items()
        if samples or not path.startswith(f"{_SAMPLING}.")
    }
    return {
        ENTRY: ConfigFile(_json(document), _JSON),
        SOURCES: ConfigFile(_json(sources), _JSON),
    }


def config_status(state: RemoteState) -> ConfigStatus:
    """How the last offer ended."""
    if not state.received_hash:
        return ConfigStatus(b"", ConfigState.UNSET, "")
    verdict = ConfigState.APPLIED if state.applied else ConfigState.FAILED
    return ConfigStatus(state.received_hash, verdict, state.error)


def components(instrumentors: Iterable[InstrumentorInfo]) -> Components:
    """Settings schema, instrumentors and detectors, hashed so that equal sets have equal hashes."""
    libraries = {info.library: Component(metadata=_instrumentor(info)) for info in instrumentors}
    tree = {
        "settings": Component(metadata={"schema.hash": schema_hash()}),
        "instrumentors": Component(metadata={}, components=libraries),
        "detectors": Component(
            metadata={}, components={name: Component({}) for name in _detectors()}
        ),
    }
    plain = {name: dict(component.metadata) for name, component in sorted(libraries.items())}
    told = {"schema": schema_hash(), "instrumentors": plain, "detectors": _detectors()}
    digest = hashlib.sha256(_json(told)).digest()
    return Components(hash=digest, components=tree)


@cache
def _detectors() -> tuple[str, ...]:
    """What ``redaction.detectors`` may name on this machine; brings the detectors, so asked late."""
    names: tuple[str, ...] = importlib.import_module("llm_observe.policy.rules").available()
    return names


def _instrumentor(info: InstrumentorInfo) -> dict[str, str]:
    metadata = {"version": info.version, "state": info.state, "reason": info.reason}
    return {name: value for name, value in metadata.items() if value}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
