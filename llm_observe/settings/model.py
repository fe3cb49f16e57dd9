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


Name = Annotated[str, MinLen(1), MaxLen(64)]
Glob = Annotated[str, MaxLen(512)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """Which calls a rule is about. All that is given must fit; what is left out fits any.

    In a pattern `*` stands for any characters and `?` for one; several are separated by `|`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    service: Glob = ""
    """Service name."""

    provider: Glob = ""
    """Who hosts the model, such as `replicate`."""

    model: Glob = ""
    """Requested model, such as `meta/llama-2-*`."""

    session: Glob = ""
    """Session id, where the app tells one."""

    user: Glob = ""
    """User id, where the app tells one."""

    route: Glob = ""
    """Route of the web request that it is part of (`http.route` of the server's span around it, or of the root in this process), such as `/chat/{id}`."""

    attributes: Annotated[Mapping[Annotated[str, MinLen(1), MaxLen(128)], Glob], MaxLen(32)] = (
        field(default_factory=dict)
    )
    """Further attributes of the span by key, such as those of the prompt template or of one's own."""


Ratio = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceMatcher:
    """Which traces a rule is about, by what is known when they begin. Otherwise as `Matcher`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    service: Glob = ""
    """Service name."""

    provider: Glob = ""
    """Who hosts the model, where the trace begins with the call itself."""

    model: Glob = ""
    """Requested model, where the trace begins with the call itself."""

    session: Glob = ""
    """Session id, where the app or baggage tells one."""

    user: Glob = ""
    """User id, where the app or baggage tells one."""

    route: Glob = ""
    """Route of the web request that the trace begins with (`http.route`)."""

    attributes: Annotated[Mapping[Annotated[str, MinLen(1), MaxLen(128)], Glob], MaxLen(32)] = (
        field(default_factory=dict)
    )
    """Further attributes by key that the trace begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRule:
    """Another share for some traces, by what is known when they begin."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    match: TraceMatcher = field(default_factory=TraceMatcher)
    """Which traces, by their root."""

    ratio: Ratio = 1.0
    """Share of them that is exported."""

    order: Annotated[int, Ge(0), Le(10_000)] = 100
    """Of several rules that match a trace, the one with the lowest number decides; of equal ones, the first by name."""


Seconds = Annotated[float, Gt(0), Le(86_400)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRules:
    """Traces that are exported whatever the share, by how they went.

    A trace that was not chosen when it began is held in memory until its part in this process has
    ended, and exported if one of these rules fits. Where its share is 0 it is not held.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    errors: bool = False
    """Keep traces with an error."""

    slower_than_s: Seconds | None = None
    """Keep traces that took longer, in seconds."""

    first_chunk_over_s: Seconds | None = None
    """Keep traces with a streamed call whose first piece took longer, in seconds."""

    tokens_over: Annotated[int, Ge(0)] | None = None
    """Keep traces with more tokens, input and output of all calls."""

    cost_over_usd: Annotated[float, Ge(0)] | None = None
    """Keep traces that cost more, in US dollars, as far as spans tell a cost (`llm.cost.total`)."""

    score_under: Annotated[float, Ge(-1e15), Le(1e15)] | None = None
    """Keep traces with a lower score, if it was given before the trace ended."""

    buffer_s: Annotated[float, Gt(0), Le(3600)] = 60.0
    """Seconds after which a held trace is judged by what is there, since its last span ended."""

    buffer_spans: Annotated[int, Ge(1), Le(100_000)] = 5000
    """Spans held in one process, at most. Beyond it the oldest traces are dropped, and counted."""

    buffer_mib: Annotated[float, Gt(0), Le(256)] = 16.0
    """Their size, at most, in MiB; whichever bound is met first counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which traces are exported. Metrics count every call, whatever is sampled."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    ratio: Ratio = 1.0
    """Share of traces that are exported, from 0 (none) to 1 (all). A trace is kept or dropped whole."""

    rules: Annotated[Mapping[Name, SamplingRule], MaxLen(100)] = field(default_factory=dict)
    """Other shares for some traces."""

    by: Literal["trace", "session"] = "trace"
    """session: a conversation is kept or dropped whole, in every process, where the root of the trace knows its session, or baggage does (`session.id`); other traces are chosen one by one."""

    per_second: Annotated[float, Gt(0), Le(1_000_000)] | None = None
    """Of the traces chosen that begin in one process so many a second, at most; what is beyond is dropped. Not set: no bound."""

    keep: KeepRules = field(default_factory=KeepRules)
    """Traces that are exported whatever the share, by how they went."""


PARTS = ("system", "input", "output", "reasoning", "tool_arguments", "tool_results", "documents")
"""Parts of a call that may have a capture level of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRule:
    """Another capture level for some calls."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    match: Matcher = field(default_factory=Matcher)
    """Which calls."""

    level: CaptureLevel = CaptureLevel.METADATA
    """Their level. A part's own level is lowered to it, never raised."""

    order: Annotated[int, Ge(0), Le(10_000)] = 100
    """Of several rules that match a call, the one with the lowest number decides; of equal ones, the first by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A higher capture level for some calls until a moment; then it ends by itself."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    match: Matcher = field(default_factory=Matcher)
    """Which calls."""

    level: CaptureLevel = CaptureLevel.FULL
    """The level that they have at least, in all their parts."""

    until: Annotated[str, MaxLen(40)] = ""
    """When it ends at the latest: a date and time with a time zone, such as 2026-12-01T18:00:00Z."""

    longest_s: Annotated[float, Gt(0), Le(604_800)] = 3600.0
    """Seconds after which it ends, however the clock is set; time while the process is stopped counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What is recorded of prompts and answers."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    level: CaptureLevel = CaptureLevel.METADATA
    """off: model, timing, status, tokens. metadata: also parameters, roles, counts, lengths, session. redacted: also content, after detectors. full: content as it is."""

    system: CaptureLevel | None = None
    """Level of system prompts; as `level` if not set. So are the following."""

    input: CaptureLevel | None = None
    """Level of what is sent to a model, a tool or a chain."""

    output: CaptureLevel | None = None
    """Level of what comes back."""

    reasoning: CaptureLevel | None = None
    """Level of what a model says to itself."""

    tool_arguments: CaptureLevel | None = None
    """Level of what a model gives to tools."""

    tool_results: CaptureLevel | None = None
    """Level of what tools give back."""

    documents: CaptureLevel | None = None
    """Level of retrieved documents."""

    rules: Annotated[Mapping[Name, CaptureRule], MaxLen(100)] = field(default_factory=dict)
    """Other levels for some calls."""

    grants: Annotated[Mapping[Name, Grant], MaxLen(100)] = field(default_factory=dict)
    """Higher levels for some time. An id that has ended never starts again."""

    max_chars: Annotated[int, Ge(0), Le(10_000_000)] = 0
    """Characters of one recorded value, at most; longer text is cut, JSON keeps its shape. 0: no bound. Of 1 to 63, 64."""


Action = Literal["mask", "hash", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorChoice:
    """Whether a detector runs, and what is done with its finds."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    enabled: bool = True
    """False switches a detector off that runs otherwise."""

    action: Action = "mask"
    """mask: the detector's name stands instead. hash: with a keyed hash, so that equal finds can be told to be equal. drop: the whole text goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternRule:
    """A pattern of one's own."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    pattern: Annotated[str, MaxLen(1000)] = ""
    """Regular expression in RE2's syntax. Its first group, if it has one, is the find."""

    enabled: bool = True
    """False switches it off."""

    action: Action = "mask"
    """As for detectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What is taken out of content at level redacted, and out of labels at level metadata."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    detectors: Annotated[Mapping[Name, DetectorChoice], MaxLen(100)] = field(default_factory=dict)
    """Detectors by name. Those for media, secrets, e-mail, phone, card, IBAN, IP and for national ids of a telling shape run unless switched off; others run if named here."""

    patterns: Annotated[Mapping[Name, PatternRule], MaxLen(100)] = field(default_factory=dict)
    """Patterns of one's own, by name."""

    allow: Annotated[tuple[Glob, ...], MaxLen(100)] = ()
    """Finds that may stay: patterns with `*` and `?`, such as `*@example.org`."""

    hash_key: Annotated[str, MaxLen(200)] = ""
    """Reference to the key for the action hash: `env:NAME`, read where the program runs. Without a key a find costs the whole text, as with drop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where telemetry is sent, over OTLP."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    enabled: bool = True
    """False removes a destination that a lower layer added."""

    endpoint: Annotated[str, MinLen(1), MaxLen(2048)] = ""
    """URL, http or https (TLS). http/protobuf: a base URL, `/v1/traces` and `/v1/metrics` are appended; one that ends in either is taken as it is. grpc: without a path; the port is 4317 if none is given."""

    protocol: Literal["http/protobuf", "grpc", "file", "console"] = "http/protobuf"
    """OTLP transport; or lines of OTLP/JSON, in a file or on the standard error, where the local limits permit it. Changing it keeps what is queued."""

    signals: tuple[Literal["traces", "metrics"], ...] = ("traces", "metrics")
    """Which signals go there."""

    headers: Annotated[
        Mapping[Annotated[str, MaxLen(256)], Annotated[str, MaxLen(1024)]], MaxLen(64)
    ] = field(default_factory=dict)
    """Request headers. Each value is a reference, never the secret itself: `env:NAME`, `env:NAME#key` or `file:PATH`, read where the program runs."""

    compression: Literal["none", "gzip"] = "gzip"
    """Compression of request bodies."""

    timeout_s: Annotated[float, Gt(0), Le(120)] = 10.0
    """Seconds that one request may take."""

    queue_items: Annotated[int, Ge(1), Le(1_000_000)] | None = None
    """Spans kept for it until it acknowledged them, at most; what is beyond is dropped and counted. Not set: as `OTEL_BSP_MAX_QUEUE_SIZE` says, else 8192."""

    queue_mib: Annotated[float, Gt(0), Le(256)] | None = None
    """Their estimated size in MiB, at most; whichever bound is met first counts. Not set: 32."""

    ca: Annotated[str, MaxLen(1024)] = ""
    """PEM file with the authorities that are trusted instead of the usual ones: `file:PATH`, on the machine of the program. This and the following need https."""

    client_certificate: Annotated[str, MaxLen(1024)] = ""
    """PEM file with the certificate that the program shows, and its chain: `file:PATH`."""

    client_key: Annotated[str, MaxLen(1024)] = ""
    """PEM file with its private key, not encrypted: `file:PATH`. Not set: it stands in the certificate's file."""

    proxy: Annotated[str, MaxLen(2048)] = ""
    """URL of an HTTP proxy to go through; `direct`: none. Not set: as the environment says, and none for loopback. grpc: http only."""

    proxy_authorization: Annotated[str, MaxLen(1024)] = ""
    """What the proxy is told as `Proxy-Authorization`, by reference: `env:NAME`, `env:NAME#key` or `file:PATH`."""

    path: Annotated[str, MaxLen(1024)] = ""
    """file: absolute path of the file, in a folder that the local limits permit."""

    file_mib: Annotated[float, Gt(0), Le(10_240)] = 100.0
    """file: size in MiB beyond which it is moved aside, to `PATH.1`."""

    file_keep: Annotated[int, Ge(0), Le(20)] = 3
    """file: how many that were moved aside are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """Under which names calls are exported. OpenInference names are always written beside them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    genai: Literal["1.36", "1.41"] = "1.41"
    """Release of the OpenTelemetry GenAI conventions. 1.41: `gen_ai.provider.name`, messages as attributes. 1.36, for back ends that read no newer one: `gen_ai.system`, messages as span events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSwitch:
    """Whether calls through one client library are recorded."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    enabled: bool = True
    """False: its calls are not recorded, from the next one on. True: they are again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrumentation:
    """Whether anything is recorded, and of which client libraries."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    enabled: bool = True
    """The kill switch. False: nothing new is recorded, neither spans nor metrics, until it is true again; the control plane stays connected. Calls and steps under way go on to their end, and are sent."""

    providers: Annotated[Mapping[Name, ProviderSwitch], MaxLen(100)] = field(default_factory=dict)
    """Client libraries by name, such as `replicate`. One that is not named is recorded."""

    log_level: Literal["debug", "info", "warning", "error", "critical"] | None = None
    """Level of the logger `llm_observe`, and of no other. Not set: as the program has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be changed while the program runs."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    sampling: Sampling = field(default_factory=Sampling)
    """Which traces are exported."""

    capture: Capture = field(default_factory=Capture)
    """What is recorded of prompts and answers."""

    destinations: Annotated[
        Mapping[Annotated[str, MinLen(1), MaxLen(64)], Destination], MaxLen(32)
    ] = field(default_factory=dict)
    """Where telemetry is sent, by name. Layers are merged per key."""

    redaction: Redaction = field(default_factory=Redaction)
    """What is taken out of content."""

    conventions: Conventions = field(default_factory=Conventions)
    """Under which names calls are exported."""

    instrumentation: Instrumentation = field(default_factory=Instrumentation)
    """Whether anything is recorded, and of which client libraries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What no layer may exceed. Set by environment or code only, never remotely."""

    capture_level: CaptureLevel = CaptureLevel.FULL
    """The highest capture level."""

    destination_hosts: tuple[str, ...] | None = None
    """Hosts that telemetry may be sent to; None allows any. `*.example.com` covers subdomains."""

    grant_longest_s: float = 604_800.0
    """Seconds that a grant may run, at most."""

    queue_mib: float = 256.0
    """The most that `queue_mib` of a destination may say."""

    buffer_mib: float = 256.0
    """The most that `sampling.keep.buffer_mib` may say."""

    references: tuple[str, ...] | None = None
    """Secrets that the control plane may name, as `env:OTEL_*` or `file:/run/secrets/*`; None allows any."""

    local_sinks: tuple[str, ...] | None = None
    """Which of the protocols `file` and `console` destinations may have; None: neither."""

    file_folders: tuple[str, ...] | None = None
    """Folders that files of destinations may lie in, absolute; None: there are none."""

    remote_keys: tuple[str, ...] | None = None
    """Keys that the control plane may set, by prefix (`sampling`, `capture.level`); None allows all."""
