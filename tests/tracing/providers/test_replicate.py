"""The real ``replicate`` package, instrumented, against Replicate's API in a function."""

from __future__ import annotations

import gc
import threading
from importlib.metadata import version
from types import GeneratorType
from typing import Any

import httpx
import pytest
import replicate
from opentelemetry import trace as otel
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from replicate import run as run_imported_before
from replicate.exceptions import ModelError, ReplicateError

from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing import instrument
from llm_observe.tracing.call import Message
from llm_observe.tracing.context import context
from llm_observe.tracing.gate import gate
from llm_observe.tracing.render import render
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


# -- run: whole answers ----------------------------------------------------------------------


def test_a_run_returns_what_it_returned_and_is_recorded(recorder: KeepingRecorder) -> None:
    value = ReplicateAPI().client().run(MODEL, input=PROMPT)
    assert value == WORDS
    assert type(value) is list
    call = recorder.call
    assert (call.provider, call.system, call.operation) == ("replicate", "meta", "chat")
    assert (call.request_model, call.response_model, call.model_version) == (MODEL, MODEL, "v1")
    assert call.input == [Message("user", PROMPT["prompt"])]  # type: ignore[arg-type]  # it is a text
    assert call.messages_out == [Message("assistant", TEXT)]
    assert call.parameters == {"temperature": 0.7, "max_new_tokens": 64}
    assert (call.input_tokens, call.output_tokens, call.total_tokens) == (7, 5, 12)
    assert not call.tokens_estimated
    assert (call.queue_ms, call.predict_s, call.tokens_per_second) == (1500.0, 0.5, 10.0)
    assert (call.finish_reason, call.response_id) == ("stop", "pred-1")
    assert (call.server_address, call.server_port) == ("api.replicate.com", 443)
    assert not call.streaming
    assert call.time_to_first_chunk_s is None
    (span,) = recorder.spans
    assert span.name == f"chat {MODEL}"
    assert (span.start_time, span.end_time) == (call.start_ns, call.end_ns)


def test_the_version_of_a_model_that_replicate_runs_itself_is_not_told(
    recorder: KeepingRecorder,
) -> None:
    ReplicateAPI(version="hidden").client().run(MODEL, input=PROMPT)
    assert (recorder.call.model_version, recorder.call.finish_reason) == ("", "stop")


def test_names_imported_earlier_and_module_functions_are_recorded(
    recorder: KeepingRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ReplicateAPI().client()
    monkeypatch.setattr(replicate.default_client, "_Client__client", client._client)
    assert run_imported_before(MODEL, input=PROMPT) == WORDS
    assert replicate.run(MODEL, input=PROMPT) == WORDS
    assert [str(e) for e in replicate.stream(MODEL, input=PROMPT)][: len(WORDS)] == [
        word.rstrip("\n") for word in WORDS
    ]
    assert replicate.default_client.run(MODEL, input=PROMPT) == WORDS
    assert (recorder.started, len(recorder.calls)) == (4, 4)


def test_a_limit_that_was_reached_is_the_finish_reason(recorder: KeepingRecorder) -> None:
    ReplicateAPI().client().run(MODEL, input=PROMPT | {"max_new_tokens": 5})
    assert recorder.call.finish_reason == "length"


def test_tokens_that_the_server_does_not_tell_are_counted_and_marked(
    recorder: KeepingRecorder,
) -> None:
    ReplicateAPI(metrics={}).client().run(MODEL, input=PROMPT)
    call = recorder.call
    assert (call.input_tokens, call.output_tokens, call.tokens_estimated) == (None, 5, True)
    assert (call.total_tokens, call.finish_reason) == (None, "succeeded")


def test_a_system_prompt_is_a_message_of_its_own(recorder: KeepingRecorder) -> None:
    ReplicateAPI().client().run(MODEL, input=PROMPT | {"system_prompt": "Be brief."})
    assert [m.role for m in recorder.call.input] == ["system", "user"]


def test_a_failed_model_raises_as_before_and_is_recorded(recorder: KeepingRecorder) -> None:
    with pytest.raises(ModelError, match="out of memory"):
        ReplicateAPI(status="failed").client().run(MODEL, input=PROMPT)
    call = recorder.call
    assert (call.error_type, call.error_message) == ("ModelError", "out of memory")
    assert (call.finish_reason, call.input_tokens) == ("error", 7)
    rendered = render(call, CaptureLevel.FULL)
    assert "raise ModelError" in rendered.events[-1].attributes["exception.stacktrace"]


def test_a_refused_request_is_recorded(recorder: KeepingRecorder) -> None:
    with pytest.raises(ReplicateError):
        ReplicateAPI(create_status=401).client().run(MODEL, input=PROMPT)
    assert recorder.call.error_type == "ReplicateError"


def test_a_reference_that_is_none_is_the_callers_error(recorder: KeepingRecorder) -> None:
    with pytest.raises(ValueError, match="Invalid reference"):
        ReplicateAPI().client().run("nonsense")
    assert recorder.call.error_type == "ValueError"


def test_a_run_that_has_to_poll_is_read_after_the_polling(recorder: KeepingRecorder) -> None:
    assert ReplicateAPI(polls=3).client().run(MODEL, input=PROMPT) == WORDS
    assert recorder.call.output_tokens == 5


def test_images_are_recorded_as_files_and_no_tokens_are_made_up(recorder: KeepingRecorder) -> None:
    api = ReplicateAPI(output=["https://files.test/a.png"], metrics={"predict_time": 2.0})
    given = {"prompt": "a llama", "width": 512}
    (picture,) = api.client().run("stability-ai/sdxl", input=given, use_file_output=True)
    assert picture.url == "https://files.test/a.png"
    call = recorder.call
    assert (call.operation, call.system) == ("generate_content", "stability-ai")
    assert call.messages_out == [Message("assistant", "", ("https://files.test/a.png",))]
    assert call.output_tokens is None
    attributes = render(call, CaptureLevel.FULL).attributes
    assert '"modality": "image"' in attributes["gen_ai.output.messages"]
    assert "files.test" not in str(render(call, CaptureLevel.REDACTED))


@pytest.mark.parametrize("output", [{"score": 1}, 3, [[1, 2]], "a text", []])
def test_any_output_goes_through_unchanged(recorder: KeepingRecorder, output: Any) -> None:
    assert ReplicateAPI(output=output).client().run(MODEL, input=PROMPT) == output
    assert render(recorder.call, CaptureLevel.FULL).attributes


# -- run: iterators --------------------------------------------------------------------------


@pytest.mark.skipif(version("replicate") < "1.0.3", reason="older clients always poll")
def test_an_iterator_over_a_finished_answer_ends_when_it_is_exhausted(
    recorder: KeepingRecorder,
) -> None:
    pieces = ReplicateAPI().client().run(VERSIONED, input=PROMPT)
    assert isinstance(pieces, GeneratorType)
    assert next(pieces) == WORDS[0]
    assert recorder.calls == []
    assert list(pieces) == WORDS[1:]
    call = recorder.call
    assert (call.output_tokens, call.streaming, "".join(call.chunks)) == (5, False, TEXT)
    assert call.time_to_first_chunk_s is None
    assert call.end_ns is not None
    assert call.end_ns <= call.chunk_ns[0]


def test_a_polling_iterator_is_a_stream(recorder: KeepingRecorder) -> None:
    pieces = ReplicateAPI(polls=2).client().run(VERSIONED, input=PROMPT, wait=False)
    assert "".join(pieces) in (TEXT, "".join(WORDS[2:]))  # the client skips what came first
    call = recorder.call
    assert call.streaming
    assert (call.output_tokens, call.tokens_estimated) == (5, False)
    assert call.time_to_first_chunk_s is not None


def test_a_polling_iterator_that_fails_is_recorded(recorder: KeepingRecorder) -> None:
    pieces = ReplicateAPI(polls=1, status="failed").client().run(VERSIONED, input={}, wait=False)
    with pytest.raises(ModelError):
        list(pieces)
    assert recorder.call.error_type == "ModelError"


@pytest.mark.parametrize("step", [0, 2])
def test_an_iterator_that_is_dropped_ends(recorder: KeepingRecorder, step: int) -> None:
    pieces = ReplicateAPI().client().run(VERSIONED, input=PROMPT)
    for _ in range(step):
        next(pieces)
    del pieces
    assert (recorder.call.aborted, recorder.call.finish_reason) == (True, "aborted")


# -- stream ----------------------------------------------------------------------------------


def test_a_stream_is_recorded_with_its_events(recorder: KeepingRecorder) -> None:
    api = ReplicateAPI()
    events = list(api.client().stream(MODEL, input=PROMPT))
    assert [event.event.value for event in events] == ["output"] * 5 + ["logs", "done"]
    call = recorder.call
    assert "".join(call.chunks) == "".join(word for word in WORDS)
    assert len(call.chunk_ns) == 5
    assert call.chunk_ns == sorted(call.chunk_ns)
    assert call.first_chunk_ns == call.chunk_ns[0]
    assert (call.output_tokens, call.tokens_estimated) == (5, True)


def test_the_numbers_of_a_stream_are_fetched_later_by_the_worker(
    recorder: KeepingRecorder,
) -> None:
    api = ReplicateAPI()
    list(api.client().stream(MODEL, input=PROMPT))
    assert api.paths("GET") == ["/stream/pred-1"]
    call = recorder.call
    assert call.completion is not None
    call.completion()
    assert api.paths("GET")[1:] == ["/v1/predictions/pred-1"]
    assert (call.input_tokens, call.output_tokens, call.tokens_estimated) == (7, 5, False)
    assert (call.queue_ms, call.finish_reason) == (1500.0, "stop")
    assert api.requests[-1].headers["authorization"] == "Bearer token"


def test_a_fetch_that_fails_is_not_repeated_and_leaves_the_estimate(
    recorder: KeepingRecorder,
) -> None:
    api = ReplicateAPI(reload_status=503)
    list(api.client().stream(MODEL, input=PROMPT))
    completion = recorder.call.completion
    assert completion is not None
    with pytest.raises(OSError, match="503"):
        completion()
    assert len(api.paths("GET")) == 2
    assert recorder.call.tokens_estimated


def test_a_stream_that_is_never_stepped_is_no_call(recorder: KeepingRecorder) -> None:
    api = ReplicateAPI()
    events: Any = api.client().stream(MODEL, input=PROMPT)
    events.close()
    del events
    assert (recorder.started, api.requests) == (0, [])


def test_a_stream_keeps_its_type_and_protocol(recorder: KeepingRecorder) -> None:
    events = ReplicateAPI().client().stream(MODEL, input=PROMPT)
    assert isinstance(events, GeneratorType)
    assert iter(events) is events
    assert events.send(None).data == WORDS[0]
    assert len(list(events)) == 6
    with pytest.raises(StopIteration):
        next(events)
    assert recorder.call.finish_reason == "succeeded"


def test_break_ends_the_span(recorder: KeepingRecorder) -> None:
    for event in ReplicateAPI().client().stream(MODEL, input=PROMPT):
        if event.data == WORDS[1]:
            break
    call = recorder.call
    assert (call.aborted, "".join(call.chunks), call.error_type) == (True, "Llamas live ", "")
    assert call.end_ns is not None
    assert call.end_ns >= call.chunk_ns[-1]


def test_close_ends_the_span_once(recorder: KeepingRecorder) -> None:
    events: Any = ReplicateAPI().client().stream(MODEL, input=PROMPT)
    next(events)
    events.close()
    events.close()
    del events
    assert recorder.call.aborted


def test_an_exception_in_the_body_of_the_loop_is_the_callers(recorder: KeepingRecorder) -> None:
    def read() -> None:
        for _ in ReplicateAPI().client().stream(MODEL, input=PROMPT):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        read()
    gc.collect()
    assert (recorder.call.aborted, recorder.call.error_type) == (True, "")


def test_an_exception_thrown_in_is_the_callers(recorder: KeepingRecorder) -> None:
    events: Any = ReplicateAPI().client().stream(MODEL, input=PROMPT)
    next(events)
    with pytest.raises(LookupError):
        events.throw(LookupError("mine"))
    assert (recorder.call.aborted, recorder.call.error_type) == (True, "")


def test_a_stream_in_a_cycle_is_ended_by_the_collector(recorder: KeepingRecorder) -> None:
    holder: list[Any] = [ReplicateAPI().client().stream(MODEL, input=PROMPT)]
    next(holder[0])
    holder.append(holder)
    del holder
    gc.collect()
    assert recorder.call.aborted


def test_an_error_event_raises_and_is_recorded(recorder: KeepingRecorder) -> None:
    with pytest.raises(RuntimeError, match="the machine is gone"):
        list(ReplicateAPI(stream_error_after=2).client().stream(MODEL, input=PROMPT))
    call = recorder.call
    assert (call.error_type, len(call.chunks)) == ("RuntimeError", 2)


def test_a_cancelled_prediction_says_so(recorder: KeepingRecorder) -> None:
    list(ReplicateAPI(done={"reason": "canceled"}).client().stream(MODEL, input=PROMPT))
    assert recorder.call.finish_reason == "canceled"


def test_a_stream_may_end_in_another_thread(recorder: KeepingRecorder) -> None:
    events = ReplicateAPI().client().stream(MODEL, input=PROMPT)
    rest = [next(events)]
    thread = threading.Thread(target=lambda: rest.extend(events))
    thread.start()
    thread.join(30)
    assert len(rest) == 7
    assert "".join(recorder.call.chunks) == TEXT


# -- where the call stands -------------------------------------------------------------------


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


@pytest.mark.parametrize("key", [_SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation"])
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


# -- hostile inputs and our own faults --------------------------------------------------------


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

    def start(self, call: Any) -> Any:
        if self.where == "start":
            raise RuntimeError("our own fault")
        return super().start(call)

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
        assert "RuntimeError at test_replicate.py" in gate.last
        assert "our own fault" not in gate.last


def test_without_a_recorder_the_library_is_itself() -> None:
    instrument.install()
    try:
        events = ReplicateAPI().client().stream(MODEL, input=PROMPT)
        assert type(events) is GeneratorType
        assert len(list(events)) == 7
    finally:
        instrument.uninstall()
