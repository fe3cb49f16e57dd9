"""Bytes of OTLP: metrics by OpenTelemetry's own encoder, spans by `encoding`. Heavy: loaded through `late`."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan

from llm_observe.tracing.export import encoding
from llm_observe.tracing.export.target import Signal


def traces(spans: Iterable[ReadableSpan]) -> bytes:
    """An ExportTraceServiceRequest with these spans."""
    return encoding.request(spans).SerializeToString()


def metrics(data: MetricsData) -> bytes:
    """An ExportMetricsServiceRequest with these points."""
    encoded: bytes = encode_metrics(data).SerializeToString()
    return encoded


def nothing() -> bytes:
    """An ExportTraceServiceRequest without spans: asks whether one would be welcome."""
    return ExportTraceServiceRequest().SerializeToString()


def rejected(signal: Signal, body: bytes) -> int:
    """How many spans or points a 2xx answer refused (OTLP, "Partial Success").

    An answer that is no protobuf counts as full success: some receivers answer with JSON or
    with nothing. Its message is not read, because it may quote what was sent.
    """
    try:
        if signal == "traces":
            traces_answer = ExportTraceServiceResponse.FromString(body)
            return int(traces_answer.partial_success.rejected_spans)
        metrics_answer = ExportMetricsServiceResponse.FromString(body)
        return int(metrics_answer.partial_success.rejected_data_points)
    except DecodeError:
        return 0
