"""OTLP requests as rows: spans of any instrumentor and metric points of any meter.

A request that is not OTLP is refused whole; a span or point that cannot be stored (no id, no
start, too large) is refused alone and counted, as OTLP's partial success wants it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from llm_observe.spanstore import content, feedback, promote, wire
from llm_observe.spanstore.model import Batch, MalformedTelemetry, MetricRow, SpanRow
from llm_observe.spanstore.points import read_points

_ERROR = 2  # Status.STATUS_CODE_ERROR
_MAX_TIME = 2**63 - 1
_MAX_NAME = 512
_RESOURCE, _SCOPE_SPANS, _SCOPE, _SPANS, _SCHEMA_URL = 1, 2, 1, 2, 3  # field numbers


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold."""

    rows: int = 50_000
    row_bytes: int = 8 * 1024 * 1024
    attributes: int = 20_000


def decode_traces(body: bytes, content_type: str, limits: Limits = Limits()) -> Batch[SpanRow]:
    """The spans of one OTLP trace request, protobuf or JSON.

    Raises:
        MalformedTelemetry: The request cannot be read, or holds too many spans.
    """
    request = wire.parse_traces(body, content_type)
    _check_rows(sum(len(s.spans) for r in request.resource_spans for s in r.scope_spans), limits)
    batch: Batch[SpanRow] = Batch()
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            _take(batch, _Origin(resource_spans, scope_spans), scope_spans, limits)
    return batch


def decode_metrics(body: bytes, content_type: str, limits: Limits = Limits()) -> Batch[MetricRow]:
    """The points of one OTLP metrics request, protobuf or JSON.

    Raises:
        MalformedTelemetry: The request cannot be read, or holds too many points.
    """
    return read_points(wire.parse_metrics(body, content_type), limits.rows)


def span_columns(span: SpanMessage, attributes: dict[str, Any]) -> dict[str, Any]:
    """The promoted columns of one span, without ids, names and content."""
    found = promote.columns(attributes)
    duration_ms = max(0, span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    ttft_ms = _first_token_ms(span, attributes)
    error = span.status.code == _ERROR
    found |= {
        "kind": promote.kind(attributes),
        "ttft_ms": ttft_ms,
        "error": error,
        "error_type": _error_type(span, attributes) if error else "",
    }
    if found["tokens_per_s"] is None:
        found["tokens_per_s"] = _speed(found["tokens_out"], duration_ms, ttft_ms)
    return found


def content_attributes(span: SpanMessage, attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes, and under them those of events that may carry a call's content."""
    merged: dict[str, Any] = {}
    for event in span.events:
        if event.name.startswith("gen_ai."):
            merged |= wire.attributes(event.attributes)
    return merged | attributes


class _Origin:
    """What the spans of one scope have in common; serialised once, not once per span."""

    def __init__(self, resource_spans: ResourceSpans, scope_spans: ScopeSpans) -> None:
        resource = wire.attributes(resource_spans.resource.attributes)
        self.service = str(resource.get("service.name") or "unknown_service")[:_MAX_NAME]
        self.instance = str(resource.get("service.instance.id") or "")[:_MAX_NAME]
        self.scope = scope_spans.scope.name[:_MAX_NAME]
        self._resource = _field(_RESOURCE, resource_spans.resource.SerializeToString()) + _url(
            resource_spans.schema_url
        )
        self._scope = _field(_SCOPE, scope_spans.scope.SerializeToString()) + _url(
            scope_spans.schema_url
        )

    def payload(self, span: SpanMessage) -> bytes:
        """A serialised ResourceSpans that holds this one span."""
        scope_spans = self._scope + _field(_SPANS, span.SerializeToString())
        return self._resource + _field(_SCOPE_SPANS, scope_spans)


def _take(batch: Batch[SpanRow], origin: _Origin, scope_spans: ScopeSpans, limits: Limits) -> None:
    for span in scope_spans.spans:
        reason = _refusal(span, limits)
        if reason:
            batch.refused += 1
            batch.reason = batch.reason or reason
        else:
            batch.append(_row(span, origin))


def _refusal(span: SpanMessage, limits: Limits) -> str:
    return next((reason for reason in _faults(span, limits) if reason), "")


def _faults(span: SpanMessage, limits: Limits) -> Iterator[str]:
    yield _bad_id("trace id", span.trace_id, 16)
    yield _bad_id("span id", span.span_id, 8)
    if span.parent_span_id:
        yield _bad_id("parent span id", span.parent_span_id, 8)
    if not 0 < span.start_time_unix_nano <= _MAX_TIME or span.end_time_unix_nano > _MAX_TIME:
        yield "a span without a start time, or with a time out of range"
    if len(span.attributes) > limits.attributes:
        yield f"a span with more than {limits.attributes} attributes"
    if span.ByteSize() > limits.row_bytes:
        yield f"a span larger than {limits.row_bytes} bytes"


def _bad_id(what: str, value: bytes, size: int) -> str:
    good = len(value) == size and any(value)
    return "" if good else f"a span whose {what} is not {size} bytes, or all zero"


def _row(span: SpanMessage, origin: _Origin) -> SpanRow:
    attributes = wire.attributes(span.attributes)
    shown = content_attributes(span, attributes) if span.events else attributes
    prompt, answer = content.input_messages(shown), content.output_messages(shown)
    return SpanRow(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_span_id,
        name=span.name[:_MAX_NAME],
        service=origin.service,
        scope=origin.scope,
        instance=origin.instance,
        start_ns=span.start_time_unix_nano,
        end_ns=max(span.end_time_unix_nano, span.start_time_unix_nano),
        payload=origin.payload(span),
        input_preview=promote.preview(prompt[-1].content if prompt else ""),
        output_preview=promote.preview(answer[0].content if answer else ""),
        feedback=feedback.carries(span, attributes),
        scores=feedback.read_scores(span, attributes),
        **span_columns(span, attributes),
    )


def _first_token_ms(span: SpanMessage, attributes: dict[str, Any]) -> float | None:
    """From the attribute, else from the event that OpenInference's instrumentors record."""
    said = promote.first_chunk_ms(attributes)
    if said is not None:
        return said
    for event in span.events:
        if event.name == "First Token Stream Event":
            return max(0, event.time_unix_nano - span.start_time_unix_nano) / 1e6
    return None


def _error_type(span: SpanMessage, attributes: dict[str, Any]) -> str:
    said = promote.text(attributes, ("error.type",))
    for event in span.events if not said else ():
        if event.name == "exception":
            said = promote.text(wire.attributes(event.attributes), ("exception.type",))
    return said or "error"


def _speed(tokens: int | None, duration_ms: float, ttft_ms: float | None) -> float | None:
    generating_ms = duration_ms - (ttft_ms or 0)
    return tokens / generating_ms * 1000 if tokens and generating_ms > 0 else None


def _check_rows(rows: int, limits: Limits) -> None:
    if rows > limits.rows:
        raise MalformedTelemetry(f"{rows} spans in one request, the limit is {limits.rows}")


def _url(schema_url: str) -> bytes:
    return _field(_SCHEMA_URL, schema_url.encode()) if schema_url else b""


def _field(number: int, data: bytes) -> bytes:
    """One length-delimited protobuf field."""
    size, head = len(data), bytearray((number << 3 | 2,))
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + data
