import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_observe.tracing.call import MAX_ITEMS, Call, Message, snapshot


def test_times_run_on_one_clock() -> None:
    call = Call(provider="p", streaming=True)
    call.received.append((time.perf_counter_ns(), "a"))
    call.received.append((time.perf_counter_ns(), "b"))
    call.end_ns = call.now()
    times = [call.start_ns, *call.chunk_ns, call.end_ns]
    assert times == sorted(times)
    assert call.duration_s >= (call.time_to_first_chunk_s or 0) >= 0


def test_a_call_that_runs_has_a_duration() -> None:
    assert Call(provider="p").duration_s >= 0


def test_an_answer_that_came_whole_has_no_first_chunk() -> None:
    call = Call(provider="p", chunks=["a"], chunk_ns=[5])
    assert call.first_chunk_ns is None
    assert call.time_to_first_chunk_s is None


def test_speed_is_tokens_over_generating() -> None:
    call = Call(provider="p", output_tokens=10, predict_s=2.0)
    assert call.tokens_per_second == 5.0
    call.streaming, call.chunk_ns = True, [0, 1_000_000_000]
    assert call.tokens_per_second == 10.0
    call.chunk_ns = [7, 7]
    assert call.tokens_per_second is None


def test_a_total_needs_both() -> None:
    assert Call(provider="p", input_tokens=1).total_tokens is None
    assert Call(provider="p", input_tokens=1, output_tokens=0).total_tokens == 1


def test_the_answer_is_joined_from_its_pieces() -> None:
    call = Call(provider="p", chunks=["a", "b"])
    assert call.messages_out == [Message("assistant", "ab")]
    call.output = [Message("assistant", "whole")]
    assert call.messages_out == call.output


def test_its_size_follows_its_content() -> None:
    small = Call(provider="p").size
    assert Call(provider="p", input=[Message("user", "x" * 5000)]).size == small + 5000
    assert Call(provider="p", chunks=["x" * 300]).size == small + 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=8,
).filter(lambda value: _depth(value) <= 4)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


@given(json_values)
def test_a_snapshot_of_json_is_equal(value: Any) -> None:
    assert snapshot(value) == value


def test_a_snapshot_is_bounded_and_holds_no_objects() -> None:
    thing = object()
    assert snapshot({"a": thing, 1: (thing,)}) == {"a": "<object>", "1": ["<object>"]}
    assert len(snapshot(list(range(10_000)))) == MAX_ITEMS
    loop: list[Any] = []
    loop.append(loop)
    assert snapshot(loop) == [[[["<list>"]]]]
    assert snapshot(b"bytes") == "<bytes>"
