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
PER_CHUNK = "gen_ai.client.operation.time_per_output_chunk"
TOKENS = "gen_ai.client.token.usage"
SECOND = 1_000_000_000


@pytest.fixture
def meter() -> CallMetrics:
    return CallMetrics(lambda: Resource({"service.name": "tested"}))


def call(**known: Any) -> Call:
    made = Call(provider="replicate", request_model="llama", start_ns=0, **known)
    made.end_ns = 2 * SECOND
    return made


def streamed(**known: Any) -> Call:
    return call(streaming=True, chunk_ns=[SECOND // 2, SECOND, SECOND + SECOND // 5], **known)


def collected(meter: CallMetrics) -> dict[str, Any]:
    """Metrics by name."""
    request = ExportMetricsServiceRequest.FromString(meter.collect())
    scopes = [s for resource in request.resource_metrics for s in resource.scope_metrics]
    return {metric.name: metric for scope in scopes for metric in scope.metrics}


def labels(point: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in point.attributes}


def test_a_call_is_a_duration_with_the_attributes_of_the_conventions(meter: CallMetrics) -> None:
    meter.record(
        call(
            response_model="llama-2",
            error_type="ModelError",
            server_address="api.replicate.com",
            server_port=443,
        ),
        None,
    )
    (point,) = collected(meter)[DURATION].histogram.data_points
    assert (point.count, point.sum) == (1, 2.0)
    assert labels(point) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "replicate",
        "gen_ai.request.model": "llama",
        "gen_ai.response.model": "llama-2",
        "server.address": "api.replicate.com",
        "server.port": 443,
        "error.type": "ModelError",
    }


def test_what_is_unknown_is_no_attribute(meter: CallMetrics) -> None:
    meter.record(call(), None)
    (point,) = collected(meter)[DURATION].histogram.data_points
    assert "error.type" not in labels(point)
    assert "gen_ai.response.model" not in labels(point)


def test_units_and_boundaries_are_those_of_the_conventions(meter: CallMetrics) -> None:
    meter.record(streamed(input_tokens=5, output_tokens=6), None)
    found = collected(meter)
    assert {name: metric.unit for name, metric in found.items()} == {
        DURATION: "s",
        FIRST_CHUNK: "s",
        PER_CHUNK: "s",
        TOKENS: "{token}",
    }
    seconds = list(found[DURATION].histogram.data_points[0].explicit_bounds)
    assert seconds == [round(0.01 * 2**n, 2) for n in range(14)]
    for name in (FIRST_CHUNK, PER_CHUNK):
        assert list(found[name].histogram.data_points[0].explicit_bounds) == seconds
    tokens = list(found[TOKENS].histogram.data_points[0].explicit_bounds)
    assert tokens == [float(4**n) for n in range(14)]


def test_the_first_chunk_counts_only_for_streams(meter: CallMetrics) -> None:
    meter.record(call(streaming=True, chunk_ns=[SECOND // 2, SECOND]), None)
    meter.record(call(), None)
    (point,) = collected(meter)[FIRST_CHUNK].histogram.data_points
    assert (point.count, point.sum) == (1, 0.5)


def test_each_piece_after_the_first_counts_with_its_distance_from_the_one_before(
    meter: CallMetrics,
) -> None:
    meter.record(streamed(), None)
    meter.record(call(streaming=True, chunk_ns=[SECOND]), None)
    meter.record(call(chunk_ns=[1, 2, 3]), None)
    (point,) = collected(meter)[PER_CHUNK].histogram.data_points
    assert (point.count, point.sum, point.min, point.max) == (2, 0.7, 0.2, 0.5)
    bounds = list(point.explicit_bounds)
    there = [number for number, count in enumerate(point.bucket_counts) if count]
    assert there == [bounds.index(0.32), bounds.index(0.64)]


def test_a_value_on_a_boundary_belongs_to_the_bucket_below_it(meter: CallMetrics) -> None:
    meter.record(call(input_tokens=16, output_tokens=17), None)
    points = collected(meter)[TOKENS].histogram.data_points
    found = {labels(p)["gen_ai.token.type"]: list(p.bucket_counts).index(1) for p in points}
    assert found == {"input": 2, "output": 3}


def test_a_generation_has_its_own_names_for_metrics_and_attributes() -> None:
    generations: list[Any] = ["1.41"]
    meter = CallMetrics(lambda: Resource({}), lambda: generations[-1])
    meter.record(streamed(input_tokens=1), None)
    assert set(collected(meter)) == {DURATION, TOKENS, FIRST_CHUNK, PER_CHUNK}
    meter.record(streamed(input_tokens=1), None)
    generations.append("1.36")
    request = ExportMetricsServiceRequest.FromString(meter.collect())
    (scope,) = request.resource_metrics[0].scope_metrics
    assert scope.schema_url == "https://opentelemetry.io/schemas/1.36.0"
    assert {metric.name for metric in scope.metrics} == {
        DURATION,
        TOKENS,
        "llm_observe.client.operation.time_to_first_chunk",
        "llm_observe.client.operation.time_per_output_chunk",
    }
    for metric in scope.metrics:
        (point,) = metric.histogram.data_points
        assert labels(point)["gen_ai.system"] == "replicate"
        assert "gen_ai.provider.name" not in labels(point)


def test_an_export_says_which_time_it_covers_and_the_next_begins_where_it_ended(
    meter: CallMetrics,
) -> None:
    times = []
    for _ in range(3):
        meter.record(call(), None)
        (point,) = collected(meter)[DURATION].histogram.data_points
        times.append((point.start_time_unix_nano, point.time_unix_nano))
    assert [start for start, _ in times[1:]] == [end for _, end in times[:-1]]
    assert all(start <= end for start, end in times)


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


def test_the_latest_sampled_call_of_a_bucket_is_its_exemplar(meter: CallMetrics) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    spans = [tracer.start_span("s") for _ in range(3)]
    for span in spans:
        meter.record(call(input_tokens=3), span)
    meter.record(call(input_tokens=3), None)
    found = collected(meter)
    for name in (DURATION, TOKENS):
        (point,) = found[name].histogram.data_points
        (exemplar,) = point.exemplars
        assert exemplar.span_id == spans[-1].get_span_context().span_id.to_bytes(8, "big")


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
