"""Calls that a low-level ``create`` opened: dropped, forgotten, elsewhere, paused, inside."""

from __future__ import annotations

import gc
import threading
from typing import Any

import httpx
from opentelemetry import trace as otel
from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,
    attach,
    detach,
    get_value,
    set_value,
)

from llm_observe.tracing.wrapping import inflight
from tests.tracing.doubles import MODEL, PROMPT, WORDS, KeepingRecorder, ReplicateAPI
from tests.tracing.providers.test_replicate_open import create

TEXT = "".join(WORDS)


def test_one_that_is_dropped_ended_when_it_was_last_touched(recorder: KeepingRecorder) -> None:
    prediction = create(ReplicateAPI(polls=9).client())
    prediction.reload()
    del prediction
    gc.collect()
    call = recorder.call
    assert call.end_ns is not None
    assert call.start_ns < call.end_ns <= call.now()
    assert (call.aborted, call.finish_reason, call.error_type) == (True, "aborted", "")


def test_one_in_a_cycle_is_ended_by_the_collector(recorder: KeepingRecorder) -> None:
    holder: list[Any] = [create(ReplicateAPI().client())]
    holder.append(holder)
    del holder
    gc.collect()
    assert recorder.call.aborted


def test_one_that_nobody_touches_is_ended_in_time(recorder: KeepingRecorder) -> None:
    prediction = create(ReplicateAPI().client())
    inflight.end_idle(3600.0)
    assert recorder.calls == []
    inflight.end_idle(0.0)
    assert recorder.call.aborted
    prediction.wait()
    assert len(recorder.calls) == 1


def test_the_end_of_the_process_ends_all(recorder: KeepingRecorder) -> None:
    client = ReplicateAPI().client()
    prediction, events = create(client), client.stream(MODEL, input=PROMPT)
    next(events)
    inflight.end_all()
    assert len(recorder.calls) == recorder.started == 2
    prediction.wait()
    assert len(list(events)) == 6
    assert len(recorder.calls) == 2


def test_nothing_is_kept_of_a_call_that_is_over(recorder: KeepingRecorder) -> None:
    prediction = create(ReplicateAPI().client())
    prediction.wait()
    assert not inflight.any_open()
    assert inflight._running == {}
    assert inflight._by_key == {}


def test_it_may_be_waited_for_in_another_thread(recorder: KeepingRecorder) -> None:
    prediction = create(ReplicateAPI(polls=1).client())
    thread = threading.Thread(target=prediction.wait)
    thread.start()
    thread.join(30)
    assert recorder.call.output_tokens == 5


def test_requests_of_a_wait_are_children_of_its_span(recorder: KeepingRecorder) -> None:
    seen = []

    class Looking(ReplicateAPI):
        def answer(self, request: httpx.Request) -> httpx.Response:
            seen.append(otel.get_current_span().get_span_context().span_id)
            return super().answer(request)

    prediction = create(Looking(polls=1).client())
    assert not otel.get_current_span().get_span_context().is_valid
    prediction.wait()
    assert len(seen) == 3
    assert set(seen) == {recorder.spans[0].context.span_id}


def test_waiting_where_tracing_is_paused_ends_it_and_stays_paused(
    recorder: KeepingRecorder,
) -> None:
    paused = []

    class Looking(ReplicateAPI):
        def answer(self, request: httpx.Request) -> httpx.Response:
            paused.append(bool(get_value(_SUPPRESS_INSTRUMENTATION_KEY)))
            return super().answer(request)

    prediction = create(Looking().client())
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        prediction.wait()
    finally:
        detach(token)
    assert paused == [False, True]
    assert recorder.call.finish_reason == "stop"


def test_one_that_was_created_where_tracing_is_paused_is_no_call(
    recorder: KeepingRecorder,
) -> None:
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        prediction = create(ReplicateAPI().client())
    finally:
        detach(token)
    prediction.wait()
    assert recorder.started == 0


def test_a_create_inside_a_run_is_a_part_of_it(recorder: KeepingRecorder) -> None:
    assert ReplicateAPI(polls=2).client().run(MODEL, input=PROMPT) == WORDS
    assert recorder.call.response_id == "pred-1"


def test_predictions_with_the_same_id_are_told_apart_by_their_objects(
    recorder: KeepingRecorder,
) -> None:
    """As recorded cassettes and fakes answer."""
    first, second = create(ReplicateAPI().client()), create(ReplicateAPI().client())
    first.wait()
    assert len(recorder.calls) == 1
    second.wait()
    assert len(recorder.calls) == recorder.started == 2
