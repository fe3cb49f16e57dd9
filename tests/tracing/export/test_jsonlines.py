"""Requests as lines of JSON, read back by whoever reads OTLP/JSON."""

from __future__ import annotations

import json

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from llm_observe.spanstore import wire
from llm_observe.tracing.export.jsonlines import LINE_BYTES, lines

MOST_BYTES = 1024 * 1024
"""The longest line that a Collector takes, unless told otherwise."""


def request(spans: int, text: str = "x", scopes: int = 1) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    resource = made.resource_spans.add(schema_url="https://r")
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    for scope in range(scopes):
        some = resource.scope_spans.add(schema_url="https://s")
        some.scope.name = f"scope-{scope}"
        for number in range(spans):
            span = some.spans.add(
                name="chat",
                kind=Span.SPAN_KIND_CLIENT,
                start_time_unix_nano=2**53 + number,
                end_time_unix_nano=2**60,
            )
            span.trace_id, span.span_id = bytes([scope + 1]) * 16, number.to_bytes(8, "big")
            span.parent_span_id = b"\xff" * 8
            span.status.code = Status.STATUS_CODE_ERROR
            span.links.add(trace_id=b"\xab" * 16, span_id=b"\xcd" * 8)
            span.attributes.add(key="traceId").value.string_value = text
            span.attributes.add(key="raw").value.bytes_value = b"\x00\x01"
    return made


def test_a_request_is_one_line_that_means_the_same() -> None:
    made = request(3, "Grüße\n\u2028\x00\U0001f999")
    (line,) = lines("traces", made.SerializeToString())
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert wire.parse_traces(line, "application/json") == made


def test_ids_are_hex_enums_numbers_and_large_numbers_texts() -> None:
    (line,) = lines("traces", request(1).SerializeToString())
    span = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert (span["traceId"], span["spanId"], span["parentSpanId"]) == (
        "01" * 16,
        "00" * 8,
        "ff" * 8,
    )
    assert (span["kind"], span["status"]["code"]) == (3, 2)
    assert span["startTimeUnixNano"] == str(2**53)
    assert span["links"] == [{"traceId": "ab" * 16, "spanId": "cd" * 8}]
    assert {"key": "traceId", "value": {"stringValue": "x"}} in span["attributes"]
    assert {"key": "raw", "value": {"bytesValue": "AAE="}} in span["attributes"]


def test_a_large_request_is_several_lines_that_a_collector_takes() -> None:
    made = request(100, "ü" * 3000, scopes=3)
    assert len(made.SerializeToString()) > LINE_BYTES
    found = [*lines("traces", made.SerializeToString())]
    assert all(len(line) < MOST_BYTES for line in found)
    parts = [wire.parse_traces(line, "application/json") for line in found]
    assert len(parts) > 3
    spans = [s for p in parts for r in p.resource_spans for x in r.scope_spans for s in x.spans]
    assert spans == [s for x in made.resource_spans[0].scope_spans for s in x.spans]
    for part in parts:
        (resource,) = part.resource_spans
        assert resource.resource == made.resource_spans[0].resource
        assert (resource.schema_url, resource.scope_spans[0].schema_url) == (
            "https://r",
            "https://s",
        )


def test_a_span_that_is_larger_than_a_line_is_one() -> None:
    made = request(2, "x" * 2 * LINE_BYTES)
    assert len([*lines("traces", made.SerializeToString())]) == 2


def metrics(texts: int) -> ExportMetricsServiceRequest:
    made = ExportMetricsServiceRequest()
    for number in range(texts):
        resource = made.resource_metrics.add()
        resource.resource.attributes.add(key="big").value.string_value = "x" * 100_000
        metric = resource.scope_metrics.add().metrics.add(name=f"m{number}")
        point = metric.histogram.data_points.add(count=2**60, sum=0.5, bucket_counts=[1, 2])
        point.exemplars.add(trace_id=b"\x01" * 16, span_id=b"\x02" * 8, as_double=1.5)
    return made


def test_metrics_are_lines_too() -> None:
    made = metrics(5)
    found = [*lines("metrics", made.SerializeToString())]
    assert len(found) > 1
    read = [wire.parse_metrics(line, "application/json") for line in found]
    names = [m.name for r in read for x in r.resource_metrics for m in x.scope_metrics[0].metrics]
    assert names == ["m0", "m1", "m2", "m3", "m4"]
    assert f'"traceId":"{"01" * 16}"'.encode() in found[0]


def test_an_empty_request_is_no_line() -> None:
    assert [*lines("traces", b"")] == []
    assert [*lines("metrics", b"")] == []
