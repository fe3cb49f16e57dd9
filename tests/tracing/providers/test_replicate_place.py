"""Where calls of the real ``replicate`` package stand, hostile inputs, and our own faults."""

from __future__ import annotations

from types import GeneratorType
from typing import Any

import httpx
import pytest
import replicate
import wrapt
from opentelemetry import trace as otel
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.around.context import context
from llm_observe.tracing.call import Message
from llm_observe.tracing.gate import gate
from llm_observe.tracing.rendering.render import render
from llm_observe.tracing.wrapping import instrument
from tests.tracing.doubles import (
    MODEL,
    PROMPT,
    WORDS,
    KeepingRecorder,
    ReplicateAPI,
    instrumented,
)

VERSIONED = f"{MODEL}:v1"
TEXT = "".join(WORDS)


def test_spans_of_the_caller_between_two_pieces_are_no_children(recorder: KeepingRecorder) -> None:
    tracer = recorder.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("outer") as outer:
        for _ in ReplicateAPI().client().stream(MODEL, input=PROMPT):
            assert otel.get_current_span() is outer
            tracer.start_span("between").end()
    spans = recorder.spans
    parents = {s.parent.span_id for s in spans if s.parent is not None}
    assert parents == {outer.get_span_context().span_id}
    assert recorder.call.error_type == ""


def test_a_call_in_another_instrumentors_span_is_its_child(recorder: KeepingRecorder) -> None:
    tracer = recorder.tracer_provider.get_tracer("other")
    with tracer.start_as_current_span("their span"):
        ReplicateAPI().client().run(MODEL, input=PROMPT)
    ours, theirs = recorder.spans
    assert ours.parent is not None
    assert ours.parent.span_id == theirs.context.span_id


@pytest.mark.parametrize("theirs_first", [True, False])
def test_another_instrumentor_of_the_same_functions_may_stand_around_or_inside(
    monkeypatch: pytest.MonkeyPatch, theirs_first: bool
) -> None:
    """One that keeps its span current across the pieces of a stream, as some do."""
    recorder = KeepingRecorder()
    tracer = recorder.tracer_provider.get_tracer("other")

    def run(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        with tracer.start_as_current_span("theirs"):
            return wrapped(*args, **kwargs)

    def stream(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        with tracer.start_as_current_span("theirs"):
            yield from wrapped(*args, **kwargs)

    def theirs() -> None:
        for name, wrapper in {"run": run, "stream": stream}.items():
            function = getattr(replicate.client, name)
            monkeypatch.setattr(replicate.client, name, wrapt.FunctionWrapper(function, wrapper))

    if theirs_first:
        theirs()
    with instrumented(recorder):
        if not theirs_first:
            theirs()
        client = ReplicateAPI().client()
        assert client.run(MODEL, input=PROMPT) == WORDS
        assert len(list(client.stream(MODEL, input=PROMPT))) == 7
        monkeypatch.undo()
    assert recorder.started == len(recorder.calls) == 2
    names = {span.context.span_id: span.name for span in recorder.spans}
    parents = [(s.name, names[s.parent.span_id]) for s in recorder.spans if s.parent]
    ours = f"chat {MODEL}"
    assert parents == [("theirs", ours) if theirs_first else (ours, "theirs")] * 2
    assert not otel.get_current_span().get_span_context().is_valid


def test_the_span_is_current_while_the_library_works(recorder: KeepingRecorder) -> None:
    seen = []

    class Looking(ReplicateAPI):
        def answer(self, request: httpx.Request) -> httpx.Response:
            seen.append(otel.get_current_span().get_span_context().span_id)
            return super().answer(request)

    Looking().client().run(MODEL, input=PROMPT)
    assert set(seen) == {recorder.spans[0].context.span_id}


def test_session_user_tags_and_metadata_come_from_the_context(recorder: KeepingRecorder) -> None:
    with context(session="s-1", user="u-1", tags=["a"], metadata={"k": 1}):
        events = ReplicateAPI().client().stream(MODEL, input=PROMPT)
    list(events)
    call = recorder.call
    assert (call.session, call.user, call.tags) == ("s-1", "u-1", ("a",))
    assert call.metadata == '{"k": 1}'


@pytest.mark.parametrize(
    "key",
    [pytest.param(_SUPPRESS_INSTRUMENTATION_KEY, id="current"), "suppress_instrumentation"],
)
def test_suppressed_calls_leave_nothing(recorder: KeepingRecorder, key: str) -> None:
    token = attach(set_value(key, True))
    try:
        client = ReplicateAPI().client()
        assert client.run(MODEL, input=PROMPT) == WORDS
        assert len(list(client.stream(MODEL, input=PROMPT))) == 7
    finally:
        detach(token)
    assert recorder.started == 0


def test_an_unsampled_call_is_still_a_call() -> None:
    recorder = KeepingRecorder(ALWAYS_OFF)
    with instrumented(recorder):
        list(ReplicateAPI().client().stream(MODEL, input=PROMPT))
    assert recorder.spans == ()
    assert recorder.call.output_tokens == 5


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("do not look at me")

    __str__ = __repr__


def test_values_that_are_no_json_are_neither_touched_nor_kept(recorder: KeepingRecorder) -> None:
    odd = Unprintable()
    with pytest.raises(TypeError, match="not JSON serializable"):
        ReplicateAPI().client().run(MODEL, input=PROMPT | {"odd": odd, "nan": float("nan")})
    rendered = render(recorder.call, CaptureLevel.FULL)
    assert "<Unprintable>" in rendered.attributes["input.value"]


def test_a_megabyte_of_prompt_and_200_messages(recorder: KeepingRecorder) -> None:
    turns = [{"role": "user", "content": f"turn {n}"} for n in range(200)]
    given = {"prompt": "x" * 1_000_000, "messages": turns}
    assert ReplicateAPI().client().run(MODEL, input=given) == WORDS
    attributes = render(recorder.call, CaptureLevel.FULL).attributes
    assert len(attributes["llm.input_messages.0.message.content"]) == 1_000_000
    assert attributes["llm.input_messages.200.message.content"] == "turn 199"


def test_later_changes_by_the_caller_do_not_reach_the_call(recorder: KeepingRecorder) -> None:
    given: dict[str, Any] = PROMPT | {"extra": ["a"]}
    value: Any = ReplicateAPI().client().run(MODEL, input=given)
    given["extra"].append("b")
    given["temperature"] = 0.1
    value.append("more")
    call = recorder.call
    assert (call.extra_input, call.parameters["temperature"]) == ({"extra": ["a"]}, 0.7)
    assert call.messages_out == [Message("assistant", TEXT)]


class Faulty(KeepingRecorder):
    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def start(self, call: Any, context: Any = None) -> Any:
        if self.where == "start":
            raise RuntimeError("our own fault")
        return super().start(call, context)

    def finish(self, span: Any, call: Any) -> None:
        raise RuntimeError("our own fault")


@pytest.mark.parametrize("where", ["start", "finish"])
def test_our_own_faults_are_counted_and_never_seen(where: str) -> None:
    with instrumented(Faulty(where)):
        gate.reraise = False
        before = gate.count
        client = ReplicateAPI().client()
        assert client.run(MODEL, input=PROMPT) == WORDS
        assert len(list(client.stream(MODEL, input=PROMPT))) == 7
        assert "".join(client.run(VERSIONED, input=PROMPT)) == TEXT
        assert gate.count >= before + 3
        assert "RuntimeError at test_replicate_place.py" in gate.last
        assert "our own fault" not in gate.last


def test_without_a_recorder_the_library_is_itself() -> None:
    instrument.install()
    try:
        events = ReplicateAPI().client().stream(MODEL, input=PROMPT)
        assert type(events) is GeneratorType
        assert len(list(events)) == 7
    finally:
        instrument.uninstall()
