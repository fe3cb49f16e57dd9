"""``stream`` of the real ``replicate`` package: every way to read one and to leave it."""

from __future__ import annotations

import gc
import threading
from types import GeneratorType
from typing import Any

import pytest

from tests.tracing.doubles import (
    MODEL,
    PROMPT,
    WORDS,
    KeepingRecorder,
    ReplicateAPI,
)

VERSIONED = f"{MODEL}:v1"
TEXT = "".join(WORDS)


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
