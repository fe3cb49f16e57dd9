"""What spans tell of how their trace went."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Status, StatusCode

from llm_observe.policy.keeping import Facts
from llm_observe.tracing.call import Call
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.facts import facts_of


def span(seconds: float = 0, **attributes: Any) -> ReadableSpan:
    return ReadableSpan("s", start_time=0, end_time=int(seconds * 1e9), attributes=attributes)


def told(attributes: dict[str, Any]) -> Facts:
    return facts_of(Entry(span(**attributes)))


def test_a_call_tells_its_error_its_times_and_its_tokens() -> None:
    call = Call(
        provider="p", streaming=True, start_ns=0, end_ns=3 * 10**9, input_tokens=5, output_tokens=7,
        error_type="E", chunks=["a"], chunk_ns=[2 * 10**9],
    )  # fmt: skip
    assert facts_of(Entry(span(2), call)) == Facts(
        error=True, duration_s=3, first_chunk_s=2, tokens=12
    )


@pytest.mark.parametrize(
    ("attributes", "facts"),
    [
        ({"llm.token_count.total": 9, "openinference.span.kind": "LLM"}, Facts(tokens=9)),
        (
            {"gen_ai.usage.input_tokens": 4, "gen_ai.usage.output_tokens": 5,
             "gen_ai.operation.name": "chat"},
            Facts(tokens=9),
        ),
        ({"llm.token_count.total": 9, "openinference.span.kind": "AGENT"}, Facts(told_tokens=9)),
        (
            {"gen_ai.usage.input_tokens": 9, "gen_ai.operation.name": "invoke_agent"},
            Facts(told_tokens=9),
        ),
        ({"llm.cost.total": 0.5, "openinference.span.kind": "LLM"}, Facts(cost_usd=0.5)),
        ({"llm.cost.total": 0.5}, Facts(told_cost_usd=0.5)),
        ({"gen_ai.response.time_to_first_chunk": 1.5}, Facts(first_chunk_s=1.5)),
        (
            {"annotations.0.annotation.score": 0.7, "annotations.1.annotation.score": 0.2},
            Facts(score=0.2),
        ),
        ({"trace.annotations.0.annotation.score": 1}, Facts(score=1.0)),
        ({"gen_ai.evaluation.score.value": 0.4}, Facts(score=0.4)),
        ({"annotations.0.annotation.score": "high", "llm.cost.total": "much"}, Facts()),
    ],
)  # fmt: skip
def test_spans_of_others_tell_what_conventions_have_a_name_for(
    attributes: dict[str, Any], facts: Facts
) -> None:
    assert told(attributes) == facts


def test_a_status_of_error_is_an_error_and_a_span_has_its_duration() -> None:
    failed = ReadableSpan("s", start_time=0, end_time=10**9, status=Status(StatusCode.ERROR))
    assert facts_of(Entry(failed)) == Facts(error=True, duration_s=1)
