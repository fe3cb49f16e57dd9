"""What of a call fits on a span that is not ours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.trace import INVALID_SPAN

from llm_observe.conventions import SPAN_KIND
from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.foreign.fit import fitted, limit_of, room_on
from llm_observe.tracing.rendering.render import render

ESSENTIALS = {
    SPAN_KIND,
    "gen_ai.request.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "llm.token_count.total",
    "error.type",
}


def long_chat(turns: int) -> dict[str, Any]:
    said = [Message("user" if i % 2 else "assistant", f"turn {i}") for i in range(turns)]
    call = Call(
        provider="replicate",
        request_model="meta/llama-2-7b-chat",
        input=[Message("system", "Be kind."), *said],
        output=[Message("assistant", "The answer.")],
        input_tokens=900,
        output_tokens=3,
        error_type="ModelError",
        end_ns=1,
    )
    return render(call, CaptureLevel.FULL).attributes


def test_what_fits_is_all_there() -> None:
    attributes = long_chat(4)
    assert fitted(attributes, 1000) == fitted(attributes, None) == attributes


@pytest.mark.parametrize("room", [40, 128])
def test_a_long_chat_keeps_its_essentials_its_answer_and_its_newest_messages(room: int) -> None:
    kept = fitted(long_chat(200), room)
    assert len(kept) <= room
    assert {*kept} >= ESSENTIALS
    assert kept["llm.output_messages.0.message.content"] == "The answer."
    assert kept["llm.input_messages.0.message.content"] == "Be kind."
    numbers = sorted({int(k.split(".")[2]) for k in kept if k.startswith("llm.input_messages.")})
    assert numbers[-1] == 200
    assert numbers[1:] == [*range(numbers[1], 201)]


def test_a_message_is_kept_whole_or_not_at_all() -> None:
    for room in range(30, 128):
        kept = fitted(long_chat(60), room)
        roles = {k.rpartition(".")[0] for k in kept if k.endswith("message.role")}
        contents = {k.rpartition(".")[0] for k in kept if k.endswith("message.content")}
        assert roles == contents


def test_what_matters_most_is_written_last_so_that_the_sdk_pushes_out_the_rest() -> None:
    provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=128))
    span: Any = provider.get_tracer("test").start_span("chat")
    span.set_attributes(fitted(long_chat(200), None))  # as if the limit were not known
    assert {*span.attributes} >= ESSENTIALS
    assert len(span.attributes) == 128


@given(st.integers(0, 140), st.integers(0, 90))
def test_never_more_than_the_room(room: int, turns: int) -> None:
    attributes = long_chat(turns)
    kept = fitted(attributes, room)
    assert len(kept) <= room
    assert kept.items() <= attributes.items()
    if room:
        assert SPAN_KIND in kept


def test_the_limit_is_the_spans_own(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = TracerProvider(span_limits=SpanLimits(max_span_attributes=20))
    assert limit_of(limited.get_tracer("t").start_span("s")) == 20
    free = TracerProvider(span_limits=SpanLimits(max_span_attributes=SpanLimits.UNSET))
    assert limit_of(free.get_tracer("t").start_span("s")) is None
    assert limit_of(INVALID_SPAN) == 128
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "64")
    assert limit_of(INVALID_SPAN) == 64


def test_attributes_of_others_take_room_those_that_are_overwritten_do_not() -> None:
    provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=10))
    span = provider.get_tracer("t").start_span("s", attributes={"a": 1, "b": 2, "mine": 0})
    assert room_on(span, {"mine": 1}) == 8
