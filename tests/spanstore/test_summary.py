from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_observe.spanstore.schema import MODEL, SERVICE
from llm_observe.spanstore.summary import Part, summarise

_DEFAULTS: dict[str, Any] = {
    "parent_id": b"",
    "name": "",
    "kind": "span",
    "service": "chatbot",
    "start_ns": 0,
    "end_ns": 10,
    "received_ns": 0,
    "error": 0,
    "error_type": "",
    "model": "",
    "session": "",
    "user": "",
    "finish_reason": "",
    "capture_level": "",
    "config_hash": "",
}
_OPTIONAL = (
    "tokens_in",
    "tokens_out",
    "tokens_total",
    "ttft_ms",
    "queue_ms",
    "tokens_per_s",
    "cost",
)


def part(number: int, parent: int = 0, **more: Any) -> Part:
    ids = {"id": number, "span_id": bytes([number]) * 8}
    ids["parent_id"] = bytes([parent]) * 8 if parent else b""
    return Part(**(_DEFAULTS | dict.fromkeys(_OPTIONAL) | ids | more))


def call(number: int, parent: int = 0, **more: Any) -> Part:
    tokens = {"tokens_in": 1, "tokens_out": 2, "tokens_total": 3}
    return part(number, parent, kind="llm", **{"model": "llama", **tokens, **more})


def test_the_root_names_the_trace_and_the_first_call_speaks_for_it() -> None:
    line, first, facets = summarise(
        [
            call(3, 1, start_ns=5, model="b", service="engine"),
            call(2, 1, start_ns=3, model="a", ttft_ms=7.0, finish_reason="stop"),
            part(1, name="turn", start_ns=1, end_ns=101, session="s"),
        ]
    )
    assert (line.name, line.session, line.start_ns, line.duration_ns) == ("turn", "s", 1, 100)
    assert (line.model, line.models, line.ttft_ms, line.finish_reason) == ("a", 2, 7.0, "stop")
    assert (line.spans, line.calls, line.tokens_total) == (3, 2, 6)
    assert first.id == 2
    assert facets == {(MODEL, "a"), (MODEL, "b"), (SERVICE, "chatbot"), (SERVICE, "engine")}


def test_without_a_root_the_first_span_stands_in() -> None:
    line, _, _ = summarise([call(2, 9, start_ns=3, end_ns=20, name="chat"), part(3, 9, start_ns=5)])
    assert (line.name, line.start_ns, line.duration_ns) == ("chat", 3, 17)


def test_a_call_around_another_call_is_counted_once() -> None:
    line, first, _ = summarise([call(1), call(2, 1, start_ns=1)])
    assert (line.calls, line.tokens_total, first.id) == (1, 3, 2)


def test_the_outer_call_counts_where_it_alone_knows_its_tokens() -> None:
    inner = part(2, 1, kind="llm", start_ns=1)
    assert summarise([call(1), inner])[0].tokens_total == 3
    assert summarise([part(1, kind="llm"), inner])[0].calls == 1


def test_the_first_failure_is_shown() -> None:
    late = part(1, error=1, error_type="late", end_ns=50)
    early = part(2, 1, error=1, error_type="early", end_ns=20)
    line, _, _ = summarise([late, early])
    assert (line.error, line.error_type) == (1, "early")


def test_spans_that_are_each_others_parents_do_no_harm() -> None:
    line, _, _ = summarise([call(1, 2), call(2, 1), call(3, 3)])
    assert line.spans == 3


small = st.integers(0, 3)
parts = st.lists(
    st.builds(
        part,
        st.integers(1, 200),
        st.integers(0, 5),
        kind=st.sampled_from(["llm", "chain", "embedding"]),
        start_ns=small,
        end_ns=st.integers(3, 6),
        error=st.integers(0, 1),
        error_type=st.sampled_from(["", "x", "y"]),
        session=st.sampled_from(["", "s", "t"]),
        model=st.sampled_from(["", "a", "b"]),
        tokens_total=st.none() | small,
        cost=st.none() | st.floats(0, 1),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda made: made.id,
)


@given(parts, st.randoms(use_true_random=False))
def test_the_line_is_the_same_in_whatever_order_spans_arrive(spans: list[Part], order: Any) -> None:
    shuffled = order.sample(spans, len(spans))
    assert summarise(shuffled) == summarise(spans)
