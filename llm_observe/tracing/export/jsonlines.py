"""OTLP requests as lines of JSON, as a Collector's `file` exporter writes and `otlpjsonfile` reads them.

OTLP/JSON is protobuf's JSON with ids in hex and enums as numbers (OTLP specification, "JSON
Protobuf Encoding"). Heavy: loaded through `late`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from llm_observe.tracing.export.target import Signal

LINE_BYTES = 256 * 1024
"""Encoded size from which a request is written as several lines. A Collector takes lines of 1 MiB,
and JSON is larger by a half or so; a single span that is larger has a line of its own."""

_IDS = frozenset({"traceId", "spanId", "parentSpanId"})

Request = ExportTraceServiceRequest | ExportMetricsServiceRequest


def lines(signal: Signal, body: bytes) -> Iterator[bytes]:
    """The lines of one request, each with its end; none of an empty one."""
    requests = _traces(body) if signal == "traces" else _metrics(body)
    for request in requests:
        document = MessageToDict(request, use_integers_for_enums=True)
        if document:
            text = json.dumps(_with_ids(document), ensure_ascii=False, separators=(",", ":"))
            yield text.encode() + b"\n"


def _traces(body: bytes) -> Iterator[Request]:
    whole = ExportTraceServiceRequest.FromString(body)
    if len(body) <= LINE_BYTES:
        yield whole
        return
    for resource in whole.resource_spans:
        for scope in resource.scope_spans:
            for spans in _chunks(scope.spans):
                part = ExportTraceServiceRequest()
                one = part.resource_spans.add(
                    resource=resource.resource, schema_url=resource.schema_url
                )
                one.scope_spans.add(scope=scope.scope, schema_url=scope.schema_url, spans=spans)
                yield part


def _metrics(body: bytes) -> Iterator[Request]:
    whole = ExportMetricsServiceRequest.FromString(body)
    for some in (
        [[*whole.resource_metrics]] if len(body) <= LINE_BYTES else _chunks(whole.resource_metrics)
    ):
        yield ExportMetricsServiceRequest(resource_metrics=some)


def _chunks(messages: Any) -> Iterator[list[Any]]:
    """As many together as fit into a line, at least one."""
    chunk: list[Any] = []
    size = 0
    for message in messages:
        more = message.ByteSize()
        if chunk and size + more > LINE_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(message)
        size += more
    if chunk:
        yield chunk


def _with_ids(value: Any) -> Any:
    """Ids in hex; only messages with ids have fields of these names."""
    if isinstance(value, list):
        return [_with_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(item).hex() if key in _IDS else _with_ids(item)
        for key, item in value.items()
    }
