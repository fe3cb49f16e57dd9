"""Calls as numbers: OpenTelemetry's GenAI client metrics, whatever the sampling.

Recorded on the intake's thread, never on the application's, with delta temporality: each export
holds what happened since the one before. Heavy (the metrics SDK's data model and encoder): loaded
through `late`.

Names, attributes, units and boundaries are those of the table in `llm_observe.conventions`, in the
generation that is in force when an export is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Span

from llm_observe.conventions import (
    METRIC_FIELDS,
    METRICS,
    NEWEST,
    GenAI,
    metric_keys_for,
    schema_url,
)
from llm_observe.conventions import Metric as Row
from llm_observe.tracing.call import Call
from llm_observe.tracing.export import otlp
from llm_observe.tracing.histograms import Histogram
from llm_observe.version import __version__

SCOPE = "llm_observe"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105  # an attribute's name

MOST_SERIES = 2000
"""Attribute sets that are told apart in one export; further ones are counted together."""

_LONGEST_VALUE = 256
_OVERFLOW = "otel.metric.overflow"

Value = str | int
Series = tuple[Value | None, ...]
"""What tells calls apart: the values of `METRIC_FIELDS`; empty for those beyond the bound."""


class CallMetrics:
    """Histograms of calls, for one process. Not for use by two threads at once.

    ``resource`` says, whenever an export is made, what this process is called, and ``genai`` under
    which names.
    """

    def __init__(
        self, resource: Callable[[], Resource], genai: Callable[[], GenAI] = lambda: NEWEST
    ) -> None:
        self._resource, self._genai = resource, genai
        self._since_ns = time.time_ns()
        self._series: set[Series] = set()
        self._found: dict[tuple[str, Series, str], Histogram] = {}

    def record(self, call: Call, span: Span | None) -> None:
        """Count one ended call. With a sampled ``span`` the points carry it as exemplar.

        Estimated token counts are left out: a metric says what was, not what may have been.
        """
        series = self._series_of(call)
        context = span.get_span_context() if span is not None else None
        for row in METRICS:
            for token_type, values in VALUES[row.field](call):
                self._histogram(row, series, token_type).add(values, _now(call), context)

    def collect(self) -> bytes:
        """An encoded export request of what was recorded since the last time, or nothing."""
        found, self._found = self._found, {}
        since, self._since_ns = self._since_ns, time.time_ns()
        self._series.clear()
        return otlp.metrics(self._data(found, since, self._since_ns)) if found else b""

    def _series_of(self, call: Call) -> Series:
        """The call's series; beyond the bound the one of all others (metrics SDK, "Overflow attribute")."""
        series = tuple(cut(getattr(call, field)) for field in METRIC_FIELDS)
        if series in self._series:
            return series
        if len(self._series) >= MOST_SERIES:
            return ()
        self._series.add(series)
        return series

    def _histogram(self, row: Row, series: Series, token_type: str) -> Histogram:
        key = (row.field, series, token_type)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = Histogram(row.boundaries)
        return found

    def _data(
        self, found: dict[tuple[str, Series, str], Histogram], since_ns: int, until_ns: int
    ) -> MetricsData:
        genai = self._genai()
        metrics = [
            Metric(
                name=row.name_in(genai),
                description=row.description,
                unit=row.unit,
                data=HistogramData(
                    [
                        item.point(_attributes(series, token_type, genai), since_ns, until_ns)
                        for (field, series, token_type), item in found.items()
                        if field == row.field
                    ],
                    AggregationTemporality.DELTA,
                ),
            )
            for row in METRICS
            if any(field == row.field for field, _, _ in found)
        ]
        url = schema_url(genai)
        scope = ScopeMetrics(InstrumentationScope(SCOPE, __version__, url), metrics, url)
        return MetricsData([ResourceMetrics(self._resource(), [scope], "")])


def _attributes(series: Series, token_type: str, genai: GenAI) -> dict[str, Value | bool]:
    keys = metric_keys_for(genai)
    pairs = zip(keys, series, strict=True) if series else ()
    found: dict[str, Value | bool] = {key: value for (_, key), value in pairs if value}
    found |= {TOKEN_TYPE: token_type} if token_type else {}
    return found if series else found | {_OVERFLOW: True}


def cut(value: Value | None) -> Value | None:
    """A value as long as one of a metric may be."""
    return value[:_LONGEST_VALUE] if isinstance(value, str) else value


def _now(call: Call) -> int:
    return call.end_ns or call.now()


Typed = Iterable[tuple[str, Iterable[float]]]
"""Values by token type; under an empty one where the metric has no such attribute."""


def _duration(call: Call) -> Typed:
    return (("", (max(call.duration_s, 0.0),)),)


def _tokens(call: Call) -> Typed:
    counts = (
        ("input", call.input_tokens),
        ("output", None if call.tokens_estimated else call.output_tokens),
    )
    return ((kind, (max(count, 0),)) for kind, count in counts if count is not None)


def _first_chunk(call: Call) -> Typed:
    seconds = call.time_to_first_chunk_s
    return () if seconds is None else (("", (max(seconds, 0.0),)),)


def _per_chunk(call: Call) -> Typed:
    """Of streamed answers: from each piece to the next."""
    there = call.streaming and len(call.chunk_ns) > 1
    return (("", _gaps(call.chunk_ns)),) if there else ()


def _gaps(arrivals: list[int]) -> Iterator[float]:
    return (max(after - before, 0) / 1e9 for before, after in pairwise(arrivals))


VALUES: dict[str, Callable[[Call], Typed]] = {
    "duration": _duration,
    "tokens": _tokens,
    "first_chunk": _first_chunk,
    "per_chunk": _per_chunk,
}
"""Field of a row of `METRICS` to a call's values; for every meter, also one that is not ours."""
