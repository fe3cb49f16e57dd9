"""The results that a span carries: what was judged, by whom, and how. Pure.

Three forms are read: OpenInference's annotations, its evaluations (the same under another name),
and OTel GenAI's event ``gen_ai.evaluation.result``. A span with exactly one link carries results
about the span it links to (OpenInference, "Annotations and Evaluations"); any other is about
itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from llm_observe.conventions import FEEDBACK
from llm_observe.spanstore import promote, wire
from llm_observe.spanstore.scores import ScoreRow

MAX_RESULTS = 100
"""Results of one span that are read."""
EVENT = "gen_ai.evaluation.result"
_EVENT_FIELDS = {
    "name": "gen_ai.evaluation.name",
    "score": "gen_ai.evaluation.score.value",
    "label": "gen_ai.evaluation.score.label",
    "explanation": "gen_ai.evaluation.explanation",
}
_LONGEST = 512
_LARGEST = 1e300
_SESSION = ("session.id", "gen_ai.conversation.id")
Result = tuple[str, Mapping[str, Any]]


def read_scores(span: SpanMessage, attributes: Mapping[str, Any]) -> tuple[ScoreRow, ...]:
    """The results of one span, those that have a name and say something."""
    there = any(key.startswith(_COLLECTIONS) for key in attributes)
    if not there and not any(event.name == EVENT for event in span.events):
        return ()
    return tuple(
        _row(number, scope, fields, span, attributes)
        for number, (scope, fields) in enumerate(_results(span, attributes))
    )


def explanation(payload: bytes, number: int) -> str:
    """Why the result with this number was given; empty where it was not captured."""
    span = ResourceSpans.FromString(payload).scope_spans[0].spans[0]
    for at, (_, fields) in enumerate(_results(span, wire.attributes(span.attributes))):
        if at == number:
            return str(fields.get("explanation") or "")
    return ""


def explanations(span: SpanMessage, attributes: Mapping[str, Any]) -> list[str]:
    """All reasons that a span carries, for a text search."""
    texts = (fields.get("explanation") for _, fields in _results(span, attributes))
    return [str(text) for text in texts if text]


def carries(span: SpanMessage, attributes: Mapping[str, Any]) -> bool:
    """Whether the span only carries results about another span.

    Also where a capture level kept the results away: an evaluator that is a child of the one span
    it links to.
    """
    if len(span.links) != 1:
        return False
    bare = promote.kind(attributes) == "evaluator" and span.parent_span_id == span.links[0].span_id
    return bare or bool(read_scores(span, attributes))


_COLLECTIONS = tuple(f"{collection}." for collection in FEEDBACK)


def _results(span: SpanMessage, attributes: Mapping[str, Any]) -> Iterator[Result]:
    found = (*_of_attributes(attributes), *_of_events(span))
    usable = (result for result in found if _usable(result[1]))
    for _, result in zip(range(MAX_RESULTS), usable, strict=False):
        yield result


def _of_attributes(attributes: Mapping[str, Any]) -> Iterator[Result]:
    for collection, (scope, word) in FEEDBACK.items():
        found: dict[int, dict[str, Any]] = {}
        for key, value in attributes.items():
            if key.startswith(f"{collection}."):
                number, _, field = key[len(collection) + 1 :].partition(f".{word}.")
                if field and number.isascii() and number.isdigit() and len(number) < 8:
                    found.setdefault(int(number), {})[field] = value
        yield from ((scope, found[number]) for number in sorted(found))


def _of_events(span: SpanMessage) -> Iterator[Result]:
    for event in span.events:
        if event.name == EVENT:
            values = wire.attributes(event.attributes)
            yield "span", {field: values.get(key) for field, key in _EVENT_FIELDS.items()}


def _usable(fields: Mapping[str, Any]) -> bool:
    said = ("label", "explanation")
    return bool(fields.get("name")) and (
        _number(fields.get("score")) is not None or any(fields.get(name) for name in said)
    )


def _row(
    number: int,
    scope: str,
    fields: Mapping[str, Any],
    span: SpanMessage,
    attributes: Mapping[str, Any],
) -> ScoreRow:
    about = span.links[0] if len(span.links) == 1 else span
    return ScoreRow(
        number=number,
        trace_id=about.trace_id,
        span_id=about.span_id,
        scope=scope,
        name=_text(fields, "name"),
        value=_number(fields.get("score")),
        label=_text(fields, "label"),
        annotator=_text(fields, "annotator_kind"),
        identifier=_text(fields, "identifier"),
        session=promote.text(attributes, _SESSION),
        time_ns=max(span.end_time_unix_nano, span.start_time_unix_nano),
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return "" if value is None else str(value)[:_LONGEST]


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > _LARGEST:
        return None
    return float(value)
