"""The columns of a span row for data frames: name → how it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from llm_observe.conventions import FINDS
from llm_observe.spanstore import content, detail
from llm_observe.spanstore.model import Span, to_json
from llm_observe.spanstore.schema import SPAN_FIELDS

SPAN_COLUMNS: dict[str, str] = {
    "trace_id": "lower(hex(s.trace_id))",
    "span_id": "lower(hex(s.span_id))",
    "parent_id": "lower(hex(s.parent_id))",
    "start": "s.start_ns / 1e9",
    "duration_ms": "(s.end_ns - s.start_ns) / 1e6",
    "error": "s.error",
}
SPAN_COLUMNS |= {
    name: f"s.{name}" for name in SPAN_FIELDS if name not in (*SPAN_COLUMNS, "feedback")
}
SPAN_COLUMNS["scores"] = (
    "(SELECT json_group_object(name, said) FROM (SELECT name, coalesce(avg(value), max(label)) said"
    " FROM scores c WHERE c.trace_id = s.trace_id AND c.span_id = s.span_id AND latest = 1"
    " GROUP BY name))"
)
DEFAULT = tuple(SPAN_COLUMNS)
"""All that need no payload."""

PAYLOAD: dict[str, Callable[[Span], Any]] = {
    "input": lambda span: content.output_text(span.input),
    "output": lambda span: span.output_text,
    "messages": lambda span: to_json(span.input + span.output),
    "parameters": lambda span: to_json(span.parameters),
    "attributes": lambda span: to_json(span.attributes),
    "resource": lambda span: to_json(span.resource),
    "events": lambda span: to_json(span.events),
    "finds": lambda span: to_json(finds_of(span.attributes)),
    "finds_total": lambda span: sum(finds_of(span.attributes).values()),
    "status_message": lambda span: span.status_message,
}
"""Columns that are read from the payload, on demand."""


def finds_of(attributes: Mapping[str, Any]) -> dict[str, int]:
    """How many things redaction found in a span, by rule."""
    prefix = f"{FINDS}."
    return {
        key.removeprefix(prefix): value
        for key, value in attributes.items()
        if key.startswith(prefix) and isinstance(value, int)
    }


def payload_values(payload: bytes, names: Iterable[str]) -> dict[str, Any]:
    """The wanted payload columns of one span."""
    span = detail.read_span(payload)
    return {name: PAYLOAD[name](span) for name in names}
