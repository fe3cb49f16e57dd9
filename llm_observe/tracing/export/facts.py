"""What a span tells of how its trace went, for the keep rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from llm_observe.conventions import FEEDBACK, OPERATION, PROMOTED, SPAN_KIND
from llm_observe.policy.keeping import Facts
from llm_observe.tracing.call import Call
from llm_observe.tracing.export.entry import Entry

_CALLS = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
_SCORE = re.compile(
    rf"(?:{'|'.join(map(re.escape, FEEDBACK))})\.\d+\.\w+\.score|gen_ai\.evaluation\.score\.value"
)


def facts_of(entry: Entry) -> Facts:
    """One ended span; its call is settled and complete."""
    span, attributes = entry.span, entry.span.attributes or {}
    told = _of_call(entry.call, attributes) if entry.call else _of_attributes(attributes)
    return told + Facts(
        error=span.status.status_code is StatusCode.ERROR,
        duration_s=_duration_s(span),
        score=_lowest_score(attributes),
    )


def _of_call(call: Call, attributes: Mapping[str, Any]) -> Facts:
    return Facts(
        error=bool(call.error_type),
        duration_s=call.duration_s,
        first_chunk_s=call.time_to_first_chunk_s or 0.0,
        tokens=(call.input_tokens or 0) + (call.output_tokens or 0),
        cost_usd=_number({**attributes, **call.attributes}, "cost_usd"),
    )


def _of_attributes(attributes: Mapping[str, Any]) -> Facts:
    both = _number(attributes, "input_tokens") + _number(attributes, "output_tokens")
    tokens = int(_number(attributes, "total_tokens") or both)
    cost = _number(attributes, "cost_usd")
    first = _number(attributes, "time_to_first_chunk_s")
    if _is_call(attributes):
        return Facts(tokens=tokens, cost_usd=cost, first_chunk_s=first)
    return Facts(told_tokens=tokens, told_cost_usd=cost, first_chunk_s=first)


def _is_call(attributes: Mapping[str, Any]) -> bool:
    """Whether it counts its own tokens, not those of the spans inside."""
    kind = attributes.get(SPAN_KIND)
    if kind is None:
        return attributes.get(OPERATION) in _CALLS
    return str(kind).upper() in {"LLM", "EMBEDDING"}


def _duration_s(span: ReadableSpan) -> float:
    return max(0, (span.end_time or 0) - (span.start_time or 0)) / 1e9


def _lowest_score(attributes: Mapping[str, Any]) -> float | None:
    scores = (value for key, value in attributes.items() if _SCORE.fullmatch(key))
    return min((float(x) for x in scores if isinstance(x, int | float)), default=None)


def _number(attributes: Mapping[str, Any], column: str) -> float:
    found = (attributes[key] for key in PROMOTED[column] if key in attributes)
    return next((float(x) for x in found if isinstance(x, int | float)), 0.0)
