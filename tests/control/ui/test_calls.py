from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.control.ui import calls
from llm_observe.spanstore.model import Message, Timing
from tests.control.ui.spans import made


def test_the_parts_of_a_call_stand_in_the_order_in_which_they_happened() -> None:
    timing = Timing(1000, queue_ms=200, ttft_ms=300, prefill_ms=100, generation_ms=700)
    slow = calls.slowness(made(duration_ms=1000, timing=timing))
    assert [(s.part, s.left, s.width) for s in slow.segments] == [
        ("queue", 0, 20), ("prefill", 20, 10), ("generation", 30, 70),
    ]  # fmt: skip


def test_the_verdict_names_the_longest_part_and_the_speed_of_writing() -> None:
    timing = Timing(1000, queue_ms=100, prefill_ms=100, generation_ms=800, tokens_per_s=40.0)
    slow = calls.slowness(made(timing=timing, tokens_out=32))
    assert slow.verdict == (
        "80 % of the time went into writing the answer: 32 tokens at 40 per second."
    )


def test_a_cold_start_is_called_what_it_is() -> None:
    slow = calls.slowness(made(timing=Timing(1000, queue_ms=900, generation_ms=100)))
    assert "cold start" in slow.verdict


def test_what_the_provider_did_not_break_down_is_not_invented() -> None:
    slow = calls.slowness(made(timing=Timing(500)))
    assert [segment.part for segment in slow.segments] == ["rest"]
    assert "cannot be broken down" in slow.verdict


parts = st.none() | st.floats(0, 1e6)


@given(st.floats(0, 1e6), parts, parts, parts)
def test_the_bar_is_always_full(
    duration: float, queue: float | None, prefill: float | None, generation: float | None
) -> None:
    timing = Timing(duration, queue_ms=queue, prefill_ms=prefill, generation_ms=generation)
    segments = calls.slowness(made(duration_ms=duration, timing=timing)).segments
    assert segments
    assert sum(segment.width for segment in segments) <= 100.1
    assert all(segment.left <= 100.1 for segment in segments)


@pytest.mark.parametrize("level", ["off", "metadata"])
def test_the_level_that_hid_the_content_is_named(level: str) -> None:
    hidden = calls.hidden(made(capture_level=level))
    assert hidden is not None
    assert level in hidden.reason
    assert hidden.where == "capture"


def test_a_call_that_carried_nothing_does_not_blame_the_level() -> None:
    hidden = calls.hidden(made(capture_level="full"))
    assert hidden is not None
    assert not hidden.where


def test_content_is_not_hidden() -> None:
    assert calls.hidden(made(output_text="hello")) is None


def test_a_turn_shows_only_what_is_new_in_its_prompt() -> None:
    system, ask = Message("system", "Be kind."), Message("user", "Why?")
    answer, more = Message("assistant", "Because."), Message("user", "And?")
    first = made("a", input=(system, ask), output=(answer,))
    second = made("b", input=(system, ask, answer, more), output_text="That is all.")
    turns = calls.conversation([first, second])
    assert turns[0].asked == (system, ask)
    assert turns[1].asked == (more,)
    assert turns[1].answered == (Message("assistant", "That is all."),)


def test_changed_instructions_are_shown_again() -> None:
    spans = [
        made("a", input=(Message("system", "Be kind."), Message("user", "x"))),
        made("b", input=(Message("system", "Be brief."), Message("user", "y"))),
    ]
    assert [len(turn.asked) for turn in calls.conversation(spans)] == [2, 2]


def test_a_span_without_kind_is_a_call_if_it_names_a_model() -> None:
    assert calls.is_call(made(kind="span", model="llama"))
    assert not calls.is_call(made(kind="tool", model="llama"))
    assert not calls.is_call(made(kind="span", model=""))
