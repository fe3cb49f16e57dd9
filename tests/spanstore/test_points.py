from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from llm_observe.spanstore.model import MalformedTelemetry
from llm_observe.spanstore.otlp import Limits, decode_metrics
from llm_observe.spanstore.points import GRID
from llm_observe.spanstore.rollup import Histogram, percentile
from tests.spanstore.build import JSON, PROTOBUF, START, metrics_request, pairs

DELTA = pb.AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = pb.AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE

_FIELDS = {int: "as_int", float: "as_double"}


def histogram(
    bounds: list[float], counts: list[int], temporality: Any = DELTA, **more: Any
) -> pb.Metric:
    made = pb.Metric(name="gen_ai.client.operation.duration", unit="s")
    made.histogram.aggregation_temporality = temporality
    point = made.histogram.data_points.add(
        explicit_bounds=bounds,
        bucket_counts=counts,
        **{"count": sum(counts), "sum": 3.0, "time_unix_nano": START, **more},
    )
    point.attributes.extend(pairs({"gen_ai.request.model": "llama", "error.type": "timeout"}))
    return made


def number(kind: str, value: Any, **more: Any) -> pb.Metric:
    made = pb.Metric(name="requests")
    data = getattr(made, kind)
    for name, setting in more.items():
        setattr(data, name, setting)
    data.data_points.add(time_unix_nano=START, **{_FIELDS[type(value)]: value})
    return made


def decode(*metrics: pb.Metric) -> Any:
    return decode_metrics(metrics_request(*metrics).SerializeToString(), PROTOBUF)


def test_a_histogram_keeps_its_buckets_and_dimensions() -> None:
    row = decode(histogram([1, 2], [1, 0, 2]))[0]
    assert (row.bounds, row.counts, row.count, row.sum) == ((1, 2), (1, 0, 2), 3, 3.0)
    assert (row.service, row.model, row.error_type) == ("chatbot", "llama", "timeout")
    assert not row.cumulative
    assert decode(histogram([1], [1, 1], CUMULATIVE))[0].cumulative


def test_json_and_protobuf_give_the_same_points() -> None:
    sent = metrics_request(histogram([1, 2], [1, 0, 2]), number("gauge", 1.5))
    exemplar = sent.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0]
    exemplar.exemplars.add(as_double=1, trace_id=bytes(16), span_id=bytes(8))
    document = MessageToDict(sent, use_integers_for_enums=True)
    points = document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["histogram"]
    points["dataPoints"][0]["exemplars"][0]["traceId"] = "00" * 16
    from_json = decode_metrics(json.dumps(document).encode(), JSON)
    assert list(from_json) == list(decode_metrics(sent.SerializeToString(), PROTOBUF))


def test_sums_and_gauges_are_single_values() -> None:
    monotonic = {"is_monotonic": True, "aggregation_temporality": CUMULATIVE}
    level = {"is_monotonic": False, "aggregation_temporality": CUMULATIVE}
    batch = decode(number("gauge", 1.5), number("sum", 7, **monotonic), number("sum", 7, **level))
    assert [(row.count, row.sum, row.cumulative) for row in batch] == [
        (1, 1.5, False),
        (1, 7.0, True),
        (1, 7.0, False),
    ]


def test_an_exponential_histogram_keeps_its_percentiles() -> None:
    made = pb.Metric(name="d")
    made.exponential_histogram.aggregation_temporality = DELTA
    point = made.exponential_histogram.data_points.add(
        time_unix_nano=START, scale=3, count=101, sum=1, zero_count=1
    )
    point.positive.offset = 8  # base 2^(1/8): the first bucket begins at 2
    point.positive.bucket_counts.extend([50, 0, 0, 0, 0, 0, 0, 50])
    row = decode(made)[0]
    assert row.bounds == GRID
    merged = Histogram(row.count, row.sum, row.bounds, row.counts)
    assert percentile(merged, 0.25) == pytest.approx(2.1, rel=0.2)
    assert percentile(merged, 0.9) == pytest.approx(3.8, rel=0.2)


def test_values_beyond_the_grid_go_to_its_edges() -> None:
    made = pb.Metric(name="d")
    made.exponential_histogram.aggregation_temporality = DELTA
    for offset in (-(2**30), 2**30):
        point = made.exponential_histogram.data_points.add(time_unix_nano=START, scale=0, count=1)
        point.positive.offset = offset
        point.positive.bucket_counts.append(1)
    low, high = decode(made)
    assert low.counts[0] == 1
    assert high.counts[-1] == 1


@pytest.mark.parametrize(
    "metric",
    [
        histogram([1, 2], [1, 1]),
        histogram([2, 1], [1, 1, 1]),
        histogram([1, float("nan")], [1, 1, 1]),
        histogram([1], [1, 1], count=5),
        histogram([1], [1, 1], sum=float("inf")),
        histogram([1], [1, 1], pb.AggregationTemporality.AGGREGATION_TEMPORALITY_UNSPECIFIED),
        histogram([1], [1, 1], time_unix_nano=0),
        histogram([1], [1, 1], flags=1),
        pb.Metric(name="s", summary=pb.Summary(data_points=[pb.SummaryDataPoint(count=1)])),
    ],
)
def test_a_point_that_makes_no_sense_is_refused_alone(metric: pb.Metric) -> None:
    batch = decode(metric, number("gauge", 1.0))
    assert len(batch) == 1
    assert batch.refused == 1
    assert metric.name in batch.reason


def test_streams_are_told_apart_by_resource_metric_and_attributes() -> None:
    other = histogram([1], [1, 1])
    other.histogram.data_points[0].attributes.extend(pairs({"x": 1}))
    one, same, different = decode(histogram([1], [1, 1]), histogram([1], [0, 1]), other)
    assert one.stream == same.stream != different.stream


def test_too_many_points_are_refused_whole() -> None:
    body = metrics_request(*[number("gauge", 1.0)] * 3).SerializeToString()
    with pytest.raises(MalformedTelemetry, match="more than 2"):
        decode_metrics(body, PROTOBUF, Limits(rows=2))
