"""Calls as numbers, on a meter provider that is not ours.

The same rows, names and boundaries as our own metrics (`llm_observe.conventions.METRICS`). What
is exported, when and where is up to the provider. Used on one thread, never the application's.
"""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, MeterProvider, get_meter
from opentelemetry.trace import Span, set_span_in_context

from llm_observe.conventions import METRICS, NEWEST, GenAI, Metric, metric_keys_for
from llm_observe.tracing.call import Call
from llm_observe.tracing.metrics import TOKEN_TYPE, VALUES, cut
from llm_observe.version import __version__


class ForeignMeter:
    """Histograms of calls on the meter provider given, else on the global one."""

    def __init__(
        self, provider: MeterProvider | None = None, genai: Callable[[], GenAI] = lambda: NEWEST
    ) -> None:
        self._meter = get_meter("llm_observe", __version__, provider)
        self._genai = genai
        self._made: dict[str, Histogram] = {}

    def record(self, call: Call, span: Span | None) -> None:
        """Count one ended call. A sampled ``span`` becomes the points' exemplar."""
        genai = self._genai()
        keys = metric_keys_for(genai)
        attributes = {
            key: found for field, key in keys if key and (found := cut(getattr(call, field)))
        }
        context = set_span_in_context(span, Context()) if span is not None else Context()
        for row in METRICS:
            for token_type, values in VALUES[row.field](call):
                extra = {TOKEN_TYPE: token_type} if token_type else {}
                for value in values:
                    self._histogram(row, genai).record(value, {**attributes, **extra}, context)

    def collect(self) -> bytes:
        """Nothing: the provider exports by itself."""
        return b""

    def _histogram(self, row: Metric, genai: GenAI) -> Histogram:
        name = row.name_in(genai)
        if name not in self._made:
            self._made[name] = self._meter.create_histogram(
                name,
                row.unit,
                row.description,
                explicit_bucket_boundaries_advisory=row.boundaries,
            )
        return self._made[name]
