"""Calls as numbers: OpenTelemetry's GenAI client metrics, whatever the sampling.

Recorded on the intake's thread, never on the application's, with delta temporality: each export
holds what happened since the one before. Heavy (the metrics SDK): loaded through `late`.

Names and boundaries: OTel GenAI semantic conventions 1.41, "Generative AI client metrics".
"""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import Histogram as SDKHistogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Span, set_span_in_context

from llm_observe.tracing.call import Call
from llm_observe.tracing.export import otlp

SECONDS = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
"""Recommended boundaries of durations."""

TOKENS = tuple(4**power for power in range(14))
"""Recommended boundaries of token counts: 1, 4, 16 … 67108864."""

MOST_SERIES = 2000
"""Attribute sets that are told apart; further ones are counted together."""

_LONGEST_VALUE = 256
_OVERFLOW = {"otel.metric.overflow": True}

Attributes = dict[str, str | bool]


class CallMetrics:
    """Histograms of calls, for one process. Not for use by two threads at once."""

    def __init__(self, resource: Resource) -> None:
        self._reader = InMemoryMetricReader({SDKHistogram: AggregationTemporality.DELTA})
        provider = MeterProvider([self._reader], resource, shutdown_on_exit=False)
        meter = provider.get_meter("llm_observe")
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "Duration of an LLM call as its caller saw it.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time from the start of a streamed call to its first piece.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of a call, as its server counted them.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )
        self._series: set[tuple[tuple[str, str | bool], ...]] = set()

    def record(self, call: Call, span: Span | None) -> None:
        """Count one ended call. With a sampled ``span`` the points carry it as exemplar.

        Estimated token counts are left out: a metric says what was, not what may have been.
        """
        context = set_span_in_context(span, Context()) if span is not None else Context()
        attributes = self._attributes(call)
        self._record(self._duration, call.duration_s, attributes, context)
        self._record(self._first_chunk, call.time_to_first_chunk_s, attributes, context)
        self._record_tokens("input", call.input_tokens, attributes, context)
        if not call.tokens_estimated:
            self._record_tokens("output", call.output_tokens, attributes, context)

    def collect(self) -> bytes:
        """An encoded export request of what was recorded since the last time, or nothing."""
        data = self._reader.get_metrics_data()
        return otlp.metrics(data) if data is not None else b""

    def _record_tokens(
        self, kind: str, count: int | None, attributes: Attributes, context: Context
    ) -> None:
        if count is not None:
            self._record(self._tokens, count, attributes | {"gen_ai.token.type": kind}, context)

    def _record(
        self, histogram: Histogram, value: float | None, attributes: Attributes, context: Context
    ) -> None:
        if value is not None:
            histogram.record(max(value, 0), attributes, context)

    def _attributes(self, call: Call) -> Attributes:
        found = {
            "gen_ai.operation.name": call.operation,
            "gen_ai.provider.name": call.provider,
            "gen_ai.request.model": call.request_model,
            "gen_ai.response.model": call.response_model,
            "error.type": call.error_type,
        }
        attributes: Attributes = {key: v[:_LONGEST_VALUE] for key, v in found.items() if v}
        return attributes if self._is_known(attributes) else {**_OVERFLOW}

    def _is_known(self, attributes: Attributes) -> bool:
        """Whether this set is, or may become, a series of its own (metrics SDK, "Overflow attribute")."""
        series = tuple(attributes.items())
        if series not in self._series and len(self._series) >= MOST_SERIES:
            return False
        self._series.add(series)
        return True
