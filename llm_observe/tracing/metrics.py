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
from opentelemetry.trace import Span, SpanContext

from llm_observe.conventions import METRICS, NEWEST, GenAI, metric_keys_for, schema_url
from llm_observe.conventions import Metric as Row
from llm_observe.tracing.call import Call
from llm_observe.tracing.export import otlp
from llm_observe.tracing.histograms import Histogram

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

    ``genai`` says, whenever an export is made, under which names.
    """

    def __init__(self, resource: Resource, genai: Callable[[], GenAI] = lambda: NEWEST) -> None:
        self._resource, self._genai = resource, genai
        self._fields = tuple(field for field, _ in metric_keys_for(NEWEST))
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
            for token_type, values in _VALUES[row.field](call):
                self._histogram(row, series, token_type).add(values, _now(call), context)

    def collect(self) -> bytes:
        """An encoded export request of what was recorded since the last time, or nothing."""
        found, self._found = self._found, {}
        since, self._since_ns = self._since_ns, time.time_ns()
        self._series.clear()
        return otlp.metrics(self._data(found, since, self._since_ns)) if found else b""

    def _series_of(self, call: Call) -> Series:
        """The call's series; beyond the bound the one of all others (metrics SDK, "Overflow attribute")."""
        series = tuple(_cut(getattr(call, field)) for field in self._fields)
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


class CallMetrics(Instruments):
    """The process's own histograms of calls, and what is exported of them."""

    def __init__(self, resource: Resource) -> None:
        self._reader = InMemoryMetricReader({SDKHistogram: AggregationTemporality.DELTA})
        provider = MeterProvider([self._reader], resource, shutdown_on_exit=False)
        super().__init__(provider.get_meter("llm_observe"))

    def collect(self) -> bytes:
        """An encoded export request of what was recorded since the last time, or nothing."""
        data = self._reader.get_metrics_data()
        return otlp.metrics(data) if data is not None else b""
