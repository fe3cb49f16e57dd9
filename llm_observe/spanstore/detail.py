"""A stored payload as the span that a reader looks at."""

from __future__ import annotations

from typing import Any, Literal

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from llm_observe.spanstore import content, feedback, wire
from llm_observe.spanstore.model import Span, SpanEvent, SpanLink, Timing
from llm_observe.spanstore.otlp import content_attributes, span_columns

_STATUS: dict[int, Literal["unset", "ok", "error"]] = {0: "unset", 1: "ok", 2: "error"}
_COLUMNS = (
    "kind",
    "error_type",
    "model",
    "provider",
    "operation",
    "session",
    "user",
    "tokens_in",
    "tokens_out",
    "tokens_total",
    "cost",
    "finish_reason",
    "capture_level",
    "config_hash",
)


def read_span(payload: bytes, trace_start_ns: int = 0) -> Span:
    """The span in one payload; ``trace_start_ns`` is where its trace begins (0: here)."""
    holder = ResourceSpans.FromString(payload)
    scope_spans = holder.scope_spans[0]
    span = scope_spans.spans[0]
    attributes = wire.attributes(span.attributes)
    resource = wire.attributes(holder.resource.attributes)
    found = span_columns(span, attributes)
    return Span(
        service=str(resource.get("service.name") or "unknown_service"),
        scope=scope_spans.scope.name,
        resource=resource,
        attributes=attributes,
        feedback=feedback.carries(span, attributes),
        timing=timing(_duration_ms(span), found["queue_ms"], found["ttft_ms"], found),
        **_identity(span, trace_start_ns),
        **_content(span, attributes),
        **{name: found[name] for name in _COLUMNS},
    )


def timing(
    duration_ms: float, queue_ms: float | None, ttft_ms: float | None, found: dict[str, Any]
) -> Timing:
    """Where the time went, as far as it is known."""
    prefill_ms = None if ttft_ms is None else max(0.0, ttft_ms - (queue_ms or 0.0))
    generation_ms = None if ttft_ms is None else max(0.0, duration_ms - ttft_ms)
    return Timing(duration_ms, queue_ms, ttft_ms, prefill_ms, generation_ms, found["tokens_per_s"])


def search_texts(payload: bytes) -> list[str]:
    """What a text search looks at: names, captured content, reasons of scores, error texts."""
    span = ResourceSpans.FromString(payload).scope_spans[0].spans[0]
    attributes = wire.attributes(span.attributes)
    shown = content_attributes(span, attributes)
    messages = content.input_messages(shown) + content.output_messages(shown)
    texts = [span.name, span.status.message, *(message.content for message in messages)]
    texts += feedback.explanations(span, attributes)
    for event in span.events:
        if event.name == "exception":
            values = wire.attributes(event.attributes)
            texts += [str(values.get(f"exception.{part}", "")) for part in ("type", "message")]
    return texts


def _identity(span: SpanMessage, trace_start_ns: int) -> dict[str, Any]:
    start_ns = span.start_time_unix_nano
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex(),
        "name": span.name,
        "start": start_ns / 1e9,
        "start_ns": start_ns,
        "end_ns": max(start_ns, span.end_time_unix_nano),
        "offset_ms": (start_ns - (trace_start_ns or start_ns)) / 1e6,
        "duration_ms": _duration_ms(span),
        "status": _STATUS.get(span.status.code, "unset"),
        "status_message": span.status.message,
        "events": tuple(
            SpanEvent(event.name, event.time_unix_nano, wire.attributes(event.attributes))
            for event in span.events
        ),
        "links": tuple(
            SpanLink(link.trace_id.hex(), link.span_id.hex(), wire.attributes(link.attributes))
            for link in span.links
        ),
    }


def _content(span: SpanMessage, attributes: dict[str, Any]) -> dict[str, Any]:
    shown = content_attributes(span, attributes)
    answer = content.output_messages(shown)
    return {
        "input": content.input_messages(shown),
        "output": answer,
        "output_text": content.output_text(answer),
        "parameters": content.parameters(shown),
    }


def _duration_ms(span: SpanMessage) -> float:
    return max(0, span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
