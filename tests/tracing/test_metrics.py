"""Calls as metrics."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from llm_observe.tracing import metrics
from llm_observe.tracing.call import Call
from llm_observe.tracing.metrics import CallMetrics

DURATION = "gen_ai.client.operation.duration"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
TOKENS = "gen_ai.client.token.usage"
SECOND = 1_000_000_000


@pytest.fixture
def meter() -> CallMetrics:
    return CallMetrics(Resource({"service.name": "tested"}))


def call(**known: Any) -> Call:
    made = Call(provider="replicate", request_model="llama", start_ns=0, **known)
    made.end_ns = 2 * SECOND
    return made


def collected(meter: CallMetrics) -> dict[str, Any]:
    """Metrics by name."""
    request = ExportMetricsServiceRequest.FromString(meter.collect())
    scopes = [s for resource in request.resource_metrics for s in resource.scope_metrics]
    return {metric.name: metric for scope in scopes for metric in scope.metrics}


def labels(point: Any) -> dict[str, Any]:
    return {
        a.key: a.value.string_value if a.value.HasField("string_value") else a.value.bool_value
        for a in point.attributes
    }


def test_a_call_is_a_duration_with_the_attributes_of_the_conventions(meter: CallMetrics) -> None:
    meter.record(call(response_model="llama-2", error_type="ModelError"), None)
    (point,) = collected(meter)[DURATION].histogram.data_points
    assert (point.count, point.sum) == (1, 2.0)
    assert labels(point) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "replicate",
        "gen_ai.request.model": "llama",
        "gen_ai.response.model": "llama-2",
        "error.type": "ModelError",
    }


def test_what_is_unknown_is_no_attribute(meter: CallMetrics) -> None:
    meter.record(call(), None)
    (point,) = collected(meter)[DURATION].histogram.data_points
    assert "error.type" not in labels(point)
    assert "gen_ai.response.model" not in labels(point)


def test_units_and_boundaries_are_those_of_the_conventions(meter: CallMetrics) -> None:
    meter.record(call(streaming=True, chunk_ns=[SECOND], input_tokens=5, output_tokens=6), None)
    found = collected(meter)
    assert {name: metric.unit for name, metric in found.items()} == {
        DURATION: "s",
        FIRST_CHUNK: "s",
        TOKENS: "{token}",
    }
    seconds = list(found[DURATION].histogram.data_points[0].explicit_bounds)
    assert seconds == [round(0.01 * 2**n, 2) for n in range(14)]
    assert list(found[FIRST_CHUNK].histogram.data_points[0].explicit_bounds) == seconds
    tokens = list(found[TOKENS].histogram.data_points[0].explicit_bounds)
    assert tokens == [float(4**n) for n in range(14)]


def test_the_first_chunk_counts_only_for_streams(meter: CallMetrics) -> None:
    meter.record(call(streaming=True, chunk_ns=[SECOND // 2, SECOND]), None)
    meter.record(call(), None)
    (point,) = collected(meter)[FIRST_CHUNK].histogram.data_points
    assert (point.count, point.sum) == (1, 0.5)


def test_tokens_are_told_apart_by_type_and_estimates_are_left_out(meter: CallMetrics) -> None:
    meter.record(call(input_tokens=5, output_tokens=6), None)
    meter.record(call(input_tokens=7, output_tokens=100, tokens_estimated=True), None)
    points = collected(meter)[TOKENS].histogram.data_points
    assert {labels(p)["gen_ai.token.type"]: (p.count, p.sum) for p in points} == {
        "input": (2, 12),
        "output": (1, 6),
    }


def test_each_export_holds_only_what_is_new(meter: CallMetrics) -> None:
    meter.record(call(), None)
    meter.record(call(), None)
    first = collected(meter)[DURATION].histogram
    assert first.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    meter.record(call(), None)
    second = collected(meter)[DURATION].histogram
    assert [first.data_points[0].count, second.data_points[0].count] == [2, 1]
    assert meter.collect() == b""


def test_a_sampled_call_is_the_exemplar_of_its_point(meter: CallMetrics) -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s")
    meter.record(call(), span)
    (point,) = collected(meter)[DURATION].histogram.data_points
    (exemplar,) = point.exemplars
    assert exemplar.trace_id == span.get_span_context().trace_id.to_bytes(16, "big")


def test_an_unsampled_call_is_counted_without_exemplar(meter: CallMetrics) -> None:
    meter.record(call(), None)
    (point,) = collected(meter)[DURATION].histogram.data_points
    assert (point.count, len(point.exemplars)) == (1, 0)


def test_a_clock_that_went_back_makes_no_negative_duration(meter: CallMetrics) -> None:
    odd = call()
    odd.end_ns = -5 * SECOND
    meter.record(odd, None)
    (point,) = collected(meter)[DURATION].histogram.data_points
    assert (point.count, point.sum) == (1, 0)


def test_endless_model_names_are_counted_together_beyond_the_bound(
    meter: CallMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MOST_SERIES", 10)
    for number in range(50):
        meter.record(Call(provider="p", request_model=f"m{number}" + "x" * 999), None)
    points = collected(meter)[DURATION].histogram.data_points
    rest = [point for point in points if labels(point).get("otel.metric.overflow")]
    assert len(points) == 11
    assert sum(point.count for point in points) == 50
    assert [point.count for point in rest] == [40]
    assert max(len(labels(p).get("gen_ai.request.model", "")) for p in points) == 256
