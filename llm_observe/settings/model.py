"""The settings document as a frozen value.

These are plain dataclasses, so that an application's start-up pays nothing for them. Their
annotations are what `llm_observe.settings.schema` checks documents against and what the
JSON Schema and the docs are made from; the sentence under a field is its documentation.

Every key is a promise: it can be changed while the program runs, and a test observes its
effect in a running process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

_STRICT: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}


class CaptureLevel(StrEnum):
    """How much of a call is recorded, from least to most."""

    OFF = "off"
    METADATA = "metadata"
    REDACTED = "redacted"
    FULL = "full"

    @property
    def rank(self) -> int:
        """0 for ``off`` … 3 for ``full``; a smaller rank records less."""
        return list(CaptureLevel).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which traces are exported. Metrics count every call, whatever is sampled."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    ratio: Annotated[float, Ge(0), Le(1)] = 1.0
    """Share of traces that are exported, from 0 (none) to 1 (all). A trace is kept or dropped whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What is recorded of prompts and answers."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    level: CaptureLevel = CaptureLevel.METADATA
    """off: model, timing, status, tokens. metadata: also parameters, roles, counts, lengths, session. redacted: also content, after detectors. full: content as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where telemetry is sent, over OTLP."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    enabled: bool = True
    """False removes a destination that a lower layer added."""

    endpoint: Annotated[str, MinLen(1), MaxLen(2048)] = ""
    """URL, http or https (TLS). http/protobuf: a base URL, `/v1/traces` and `/v1/metrics` are appended; one that ends in either is taken as it is. grpc: without a path; the port is 4317 if none is given."""

    protocol: Literal["http/protobuf", "grpc"] = "http/protobuf"
    """OTLP transport. Changing it keeps what is queued."""

    signals: tuple[Literal["traces", "metrics"], ...] = ("traces", "metrics")
    """Which signals go there."""

    headers: Mapping[str, Annotated[str, MaxLen(1024)]] = field(default_factory=dict)
    """Request headers. Each value is a reference, never the secret itself: `env:NAME`, `env:NAME#key` or `file:PATH`, read where the program runs."""

    compression: Literal["none", "gzip"] = "gzip"
    """Compression of request bodies."""

    timeout_s: Annotated[float, Gt(0), Le(120)] = 10.0
    """Seconds that one request may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """Under which names calls are exported. OpenInference names are always written beside them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    genai: Literal["1.36", "1.41"] = "1.41"
    """Release of the OpenTelemetry GenAI conventions. 1.41: `gen_ai.provider.name`, messages as attributes. 1.36, for back ends that read no newer one: `gen_ai.system`, messages as span events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be changed while the program runs."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    sampling: Sampling = field(default_factory=Sampling)
    """Which traces are exported."""

    capture: Capture = field(default_factory=Capture)
    """What is recorded of prompts and answers."""

    destinations: Mapping[Annotated[str, MinLen(1), MaxLen(64)], Destination] = field(
        default_factory=dict
    )
    """Where telemetry is sent, by name. Layers are merged per key."""

    conventions: Conventions = field(default_factory=Conventions)
    """Under which names calls are exported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What no layer may exceed. Set by environment or code only, never remotely."""

    capture_level: CaptureLevel = CaptureLevel.FULL
    """The highest capture level."""

    destination_hosts: tuple[str, ...] | None = None
    """Hosts that telemetry may be sent to; None allows any. `*.example.com` covers subdomains."""

    remote_keys: tuple[str, ...] | None = None
    """Keys that the control plane may set, by prefix (`sampling`, `capture.level`); None allows all."""
