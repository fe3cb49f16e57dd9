"""What the span store takes and gives: rows in, filters, pages of summaries and spans out.

All values are frozen; `to_json` turns any of them into what a JSON encoder takes. Times are
unix nanoseconds where the name ends in ``_ns`` and unix seconds elsewhere; durations are
milliseconds (``_ms``). Trace and span ids are lower-case hex outside the store, bytes inside.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from llm_observe.errors import StoreError
from llm_observe.spanstore.scores import Score, ScoreFilter, ScoreLine, ScoreMean, ScoreRow

T = TypeVar("T")
Attributes = Mapping[str, Any]
MetricName = Literal["duration", "ttft", "tokens", "calls", "errors"]


class StoreBusy(StoreError):
    """More bytes wait to be written than the store may hold; try again in ``retry_after_s``."""

    def __init__(self, pending: int, limit: int, retry_after_s: float = 1.0) -> None:
        self.pending, self.limit, self.retry_after_s = pending, limit, retry_after_s
        super().__init__(pending, limit)

    def __str__(self) -> str:
        return f"{self.pending} bytes wait to be written, the limit is {self.limit}"


class MalformedTelemetry(StoreError, ValueError):
    """Bytes that are no OTLP request, or one beyond the limits of depth, size or count."""


class UnknownColumn(StoreError, ValueError):
    """A column, metric or group that the store does not have; the sentence says what it has."""


# ---------------------------------------------------------------------------- rows, to be stored


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One span as it is written: promoted columns, and everything in ``payload``.

    ``payload`` is the span as OTLP: a serialised ``ResourceSpans`` with one scope and one span,
    so nothing of what arrived is lost. ``kind`` is the OpenInference span kind in lower case
    (``llm``, ``chain``, ``tool`` … or ``span``). None means the span did not say.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: str
    service: str
    start_ns: int
    end_ns: int
    payload: bytes
    scope: str = ""
    instance: str = ""
    error: bool = False
    error_type: str = ""
    model: str = ""
    provider: str = ""
    operation: str = ""
    session: str = ""
    user: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_total: int | None = None
    ttft_ms: float | None = None
    queue_ms: float | None = None
    tokens_per_s: float | None = None
    cost: float | None = None
    finish_reason: str = ""
    capture_level: str = ""
    config_hash: str = ""
    input_preview: str = ""
    output_preview: str = ""
    feedback: bool = False
    """It only carries ``scores`` about another span."""
    scores: tuple[ScoreRow, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric point. A histogram has ``bounds`` and ``len(bounds) + 1`` counts.

    A sum or gauge has neither; its value is in ``sum``. ``stream`` tells one reporting process
    and attribute set from another: cumulative points are compared with the one before in the
    same stream, and a point that arrives twice in a stream counts once.
    """

    metric: str
    unit: str
    stream: bytes
    start_ns: int
    time_ns: int
    cumulative: bool
    count: int
    sum: float
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    service: str = ""
    model: str = ""
    provider: str = ""
    operation: str = ""
    token_type: str = ""
    error_type: str = ""


class Batch(list[T]):
    """Decoded rows, and how many of the request were refused with the first reason."""

    def __init__(self, rows: Sequence[T] = (), refused: int = 0, reason: str = "") -> None:
        super().__init__(rows)
        self.refused, self.reason = refused, reason


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one append, after its COMMIT."""

    spans: int = 0
    repeated: int = 0
    points: int = 0
    points_refused: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much is kept. Spans go by whole traces, the longest untouched first.

    ``max_bytes`` bounds the database file (0 = no bound); ages are seconds (0 = for ever).
    Metrics are kept finely (10 s) for ``fine_metrics_age_s``, coarsely (10 min) for
    ``metrics_age_s``.
    """

    max_age_s: float = 30 * 86400
    max_bytes: int = 10 * 1024**3
    fine_metrics_age_s: float = 7 * 86400
    metrics_age_s: float = 400 * 86400


# ------------------------------------------------------------------------------------- questions


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """Which traces; empty fields ask nothing. ``model`` and ``service``: of any span in the trace.

    ``text`` is looked for, without regard to case, in names, captured content and error texts.
    ``since`` (inclusive) and ``until`` (exclusive) bound the start, in unix seconds.
    """

    service: str = ""
    model: str = ""
    session: str = ""
    user: str = ""
    error: bool | None = None
    text: str = ""
    since: float | None = None
    until: float | None = None
    min_duration_ms: float | None = None
    config_hash: str = ""
    score: str = ""
    """Name of a score that the trace, or anything in it, has got; with it, or alone:"""
    score_min: float | None = None
    score_max: float | None = None
    score_label: str = ""


@dataclass(frozen=True, slots=True)
class SpanFilter:
    """Which spans; as `TraceFilter`, for single spans. ``kind``: ``llm``, ``chain``, ``tool`` …"""

    service: str = ""
    model: str = ""
    session: str = ""
    user: str = ""
    kind: str = ""
    name: str = ""
    error: bool | None = None
    since: float | None = None
    until: float | None = None
    min_duration_ms: float | None = None
    config_hash: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """A chart: what, from when to when (unix seconds), per ``step_s``, one line per ``by``.

    ``duration`` and ``ttft`` are in seconds. ``tokens``: ``sum`` is the number of tokens, the
    percentiles are per call. ``calls`` and ``errors``: ``count`` is the answer.
    """

    metric: MetricName
    since: float
    until: float
    step_s: int = 60
    by: Literal["model", "service", "token_type"] | None = None
    service: str = ""
    model: str = ""


# --------------------------------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of the answer. ``next`` goes back in as the cursor; None: this was the last page.

    ``partial``: a text search came to its bound before the page was full; ``next`` goes on.
    """

    items: tuple[T, ...]
    next: str | None = None
    partial: bool = False


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """One line of the traces list.

    Name, service and duration are the root's where it has arrived, else of what is there. Tokens
    are summed over the calls of the trace; an LLM span around another LLM span is counted once.
    Model, timings, finish reason and previews are of the first call.
    """

    trace_id: str
    name: str
    service: str
    model: str
    models: int
    session: str
    user: str
    start: float
    start_ns: int
    duration_ms: float
    tokens_in: int | None
    tokens_out: int | None
    tokens_total: int | None
    cost: float | None
    ttft_ms: float | None
    queue_ms: float | None
    tokens_per_s: float | None
    finish_reason: str
    error: bool
    error_type: str
    spans: int
    calls: int
    capture_level: str
    config_hash: str
    input_preview: str
    output_preview: str
    scores: tuple[ScoreMean, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message. Tool calls and media stand in ``content`` as a short text."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a call went. ``ttft_ms`` counts from the call's start, queue included.

    ``prefill_ms`` = first token minus queue; ``generation_ms`` = end minus first token.
    """

    duration_ms: float
    queue_ms: float | None = None
    ttft_ms: float | None = None
    prefill_ms: float | None = None
    generation_ms: float | None = None
    tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened in a span."""

    name: str
    time_ns: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class SpanLink:
    """A span that this one points at."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """One span with all that arrived, and what a reader of an LLM call wants to see first.

    ``input`` and ``output`` are read from either convention, never from both; empty where the
    capture level kept no content. ``offset_ms`` is the start after the trace's first span.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    scope: str
    start: float
    start_ns: int
    end_ns: int
    offset_ms: float
    duration_ms: float
    status: Literal["unset", "ok", "error"]
    status_message: str
    error_type: str
    model: str
    provider: str
    operation: str
    session: str
    user: str
    tokens_in: int | None
    tokens_out: int | None
    tokens_total: int | None
    cost: float | None
    finish_reason: str
    capture_level: str
    config_hash: str
    timing: Timing
    input: tuple[Message, ...]
    output: tuple[Message, ...]
    output_text: str
    parameters: Attributes
    attributes: Attributes
    resource: Attributes
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()
    feedback: bool = False
    """It only carries scores about another span."""
    scores: tuple[Score, ...] = ()
    """What was said about this span, newest first, what counts before what no longer does."""


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """One conversation."""

    session: str
    user: str
    service: str
    first: float
    last: float
    traces: int
    errors: int
    tokens_total: int | None


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series; percentiles are None where nothing was measured."""

    time: float
    count: int = 0
    sum: float = 0.0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart, a point for every step from ``since`` to ``until``.

    ``label`` is the model, service or token type, or empty without ``by``.
    """

    label: str
    unit: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Facets:
    """Values to choose from in the filters; sessions newest first, at most 200 each."""

    services: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    """Names of scores."""


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Size of the store."""

    spans: int = 0
    traces: int = 0
    bytes: int = 0
    oldest: float | None = None
    newest: float | None = None


# ------------------------------------------------------------------------------------ interfaces


class Reading(Protocol):
    """The questions, answered by `query.SpanReader`; sync, from any thread, never blocking a writer.

    Raises:
        StoreError: The store cannot be read, a cursor is not one of ours, a bound was passed.
    """

    def traces(
        self, where: TraceFilter = ..., limit: int = 50, cursor: str | None = None
    ) -> Page[TraceSummary]:
        """Newest first."""

    def trace(self, trace_id: str, limit: int = 1000) -> list[Span]:
        """The first spans of one trace by start; empty where there is none."""

    def trace_size(self, trace_id: str) -> int:
        """How many spans the trace has; 0 where there is none."""

    def spans(
        self,
        where: SpanFilter = ...,
        columns: Sequence[str] | None = None,
        limit: int = 1000,
        cursor: str | None = None,
    ) -> Page[dict[str, Any]]:
        """Rows for data frames, newest first."""

    def scores(
        self, where: ScoreFilter = ..., limit: int = 1000, cursor: str | None = None
    ) -> Page[ScoreLine]:
        """What was judged, newest first; of several by one judge the latest."""

    def series(self, query: SeriesQuery) -> list[Series]:
        """From metrics, so true whatever the sampling."""

    def facets(self) -> Facets:
        """What the filters can offer."""

    def sessions(
        self, service: str = "", limit: int = 50, cursor: str | None = None
    ) -> Page[SessionSummary]:
        """Last active first."""

    def newest(self) -> int:
        """A number that grows with each commit."""

    def stats(self) -> StoreStats:
        """How much there is."""

    def close(self) -> None:
        """Close the connections."""


class Writing(Protocol):
    """The embedded store, `sqlite.SpanStore`; one per file and machine."""

    def append(self, spans: Sequence[SpanRow], points: Sequence[MetricRow]) -> Future[Receipt]:
        """Queue rows; the future resolves after COMMIT. Raises StoreBusy beyond the byte bound."""

    def delete_session(self, session: str) -> Future[int]:
        """Remove all traces of one session, content and all; resolves to their number."""

    def reader(self) -> Reading:
        """A reader of the same file."""

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is queued, then close."""


# ------------------------------------------------------------------------------------------ JSON


def to_json(value: Any) -> Any:
    """Any value of this module as plain JSON data: bytes in hex, NaN and infinities as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
