from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.conventions import PROMOTED
from llm_observe.spanstore import promote
from tests.spanstore.build import values

ALL_KEYS = sorted({key for keys in PROMOTED.values() for key in keys})


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"llm.model_name": "llama", "llm.token_count.prompt": 3, "session.id": "s"},
            {"model": "llama", "tokens_in": 3, "tokens_total": 3, "session": "s"},
        ),
        (
            {"gen_ai.request.model": "llama", "gen_ai.usage.output_tokens": 4},
            {"model": "llama", "tokens_out": 4, "tokens_total": 4},
        ),
        (
            {"llm.token_count.prompt": 3, "llm.token_count.completion": 4}
            | {"llm.token_count.total": 9, "llm_observe.queue_ms": 12.5},
            {"tokens_in": 3, "tokens_out": 4, "tokens_total": 9, "queue_ms": 12.5},
        ),
        (
            {"gen_ai.response.finish_reasons": ["stop", "length"], "llm.cost.total": 0.5},
            {"finish_reason": "stop, length", "cost": 0.5},
        ),
    ],
)
def test_columns_come_from_either_convention(
    attributes: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = promote.columns(attributes)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"openinference.span.kind": "LLM"}, "llm"),
        ({"gen_ai.operation.name": "chat"}, "llm"),
        ({"gen_ai.operation.name": "execute_tool"}, "tool"),
        ({"traceloop.span.kind": "workflow"}, "chain"),
        ({"http.request.method": "GET"}, "span"),
    ],
)
def test_the_kind_is_read_from_any_convention(attributes: dict[str, Any], kind: str) -> None:
    assert promote.kind(attributes) == kind


@pytest.mark.parametrize("nonsense", [-1, float("nan"), float("inf"), 2**60, True, "7", None, []])
def test_a_count_that_is_none_is_left_out(nonsense: Any) -> None:
    assert promote.columns({"llm.token_count.prompt": nonsense})["tokens_in"] is None


@given(st.dictionaries(st.sampled_from(ALL_KEYS), values, max_size=8))
def test_no_value_of_an_attribute_breaks_a_column(attributes: dict[str, Any]) -> None:
    found = promote.columns(attributes) | {"kind": promote.kind(attributes)}
    assert all(len(value) <= 512 for value in found.values() if isinstance(value, str))


def test_a_preview_is_one_short_line() -> None:
    assert promote.preview("a\n\n  b") == "a b"
    assert len(promote.preview("x" * 5000)) == promote.PREVIEW_CHARS
