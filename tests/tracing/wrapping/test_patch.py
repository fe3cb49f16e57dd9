"""The wrapper around a made-up library, whose iterators are of every kind."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span

from llm_observe.tracing.call import Call
from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping import patch
from tests.tracing.doubles import KeepingRecorder
from tests.tracing.toys import Closing, Counting, Thing, Toy, wrapped


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    kept = KeepingRecorder()
    patch.connect(kept)
    gate.reraise = True
    yield kept
    patch.connect(None)
    gate.reraise = False


def test_an_iterator_keeps_its_surface_and_gains_no_method(recorder: KeepingRecorder) -> None:
    stream = wrapped(lambda: Counting(2))()
    assert isinstance(stream, Counting)
    assert (stream.request_id, stream.parse()) == ("r-1", "2 left")
    assert not hasattr(stream, "close")
    assert not hasattr(stream, "send")
    assert list(stream) == [1, 0]
    assert recorder.call.chunks == ["1", "0"]


def test_what_a_generator_lacks_its_stream_lacks(recorder: KeepingRecorder) -> None:
    def ask() -> Iterator[str]:
        yield from "ab"

    first, second = itertools.tee(wrapped(ask, "lazy")())
    assert (list(first), list(second)) == (["a", "b"], ["a", "b"])
    assert recorder.call.chunks == ["a", "b"]
    stream = wrapped(ask, "lazy")()
    for name in ("__len__", "__enter__", "__getitem__", "__copy__", "__reversed__"):
        assert not hasattr(stream, name)
    for use in (len, reversed, copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            use(stream)
    with pytest.raises(TypeError), stream:
        raise AssertionError("entered")


def test_what_an_iterator_has_its_stream_has(recorder: KeepingRecorder) -> None:
    class Sized(Counting):
        def __len__(self) -> int:
            return self.left

        def __enter__(self) -> Sized:
            return self

        def __exit__(self, *_: object) -> None:
            self.left = 0

    stream = wrapped(lambda: Sized(3))()
    with stream:
        assert (len(stream), copy.copy(stream).left) == (3, 3)
    assert list(stream) == []


def test_close_returns_what_it_returned(recorder: KeepingRecorder) -> None:
    stream = wrapped(lambda: Closing(2))()
    assert next(stream) == 1
    assert stream.close() == "closed"
    assert stream.closed
    assert recorder.call.aborted


def test_a_generator_that_survives_a_throw_goes_on(recorder: KeepingRecorder) -> None:
    def ask() -> Iterator[str]:
        try:
            yield "a"
        except LookupError:
            yield "b"

    stream = wrapped(ask, "lazy")()
    assert next(stream) == "a"
    assert stream.throw(LookupError()) == "b"
    assert list(stream) == []
    assert (recorder.call.chunks, recorder.call.aborted) == (["a", "b"], False)


def test_throw_without_an_error_is_the_callers_type_error(recorder: KeepingRecorder) -> None:
    def ask() -> Iterator[str]:
        yield "a"

    stream = wrapped(ask, "lazy")()
    next(stream)
    with pytest.raises(TypeError):
        stream.throw()


def test_an_interrupt_passes_and_ends_the_span(recorder: KeepingRecorder) -> None:
    def ask() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wrapped(ask)()
    assert recorder.call.error_type == "KeyboardInterrupt"


def test_one_surface_built_on_another_is_one_call(recorder: KeepingRecorder) -> None:
    provider = Toy()
    inner = wrapped(lambda: "x", provider=provider)
    assert wrapped(lambda: inner(), provider=provider)() == "x"
    assert recorder.started == 1


def test_a_part_belongs_to_the_call_around_it_only(recorder: KeepingRecorder) -> None:
    provider = Toy()
    create = wrapped(lambda: "done", "open", provider)
    assert create() == "done"
    assert wrapped(lambda: create(), provider=provider)() == "done"
    assert wrapped(lambda: create(), provider=Toy())() == "done"
    assert [call.response_id for call in recorder.calls] == ["done", "done", "done", ""]


def test_a_target_that_is_off_is_transparent(recorder: KeepingRecorder) -> None:
    ask = wrapped(lambda: "x")
    ask._self_wrapper.on = False
    assert ask() == "x"
    assert recorder.started == 0


STEPS = ["begin", "part", "result", "opened", "reader", "end"]


@pytest.mark.parametrize("step", STEPS)
def test_a_providers_fault_costs_a_step_and_never_the_call(
    recorder: KeepingRecorder, step: str
) -> None:
    gate.reraise = False
    provider = Toy(step)
    create = wrapped(lambda: "p-1", "open", provider)
    before = gate.count
    assert wrapped(lambda: create(), provider=provider)() == "p-1"
    assert list(wrapped(lambda: Counting(2), provider=provider)()) == [1, 0]
    assert list(wrapped(lambda: iter("ab"), "lazy", provider)()) == ["a", "b"]
    assert gate.count > before
    assert len(recorder.calls) == recorder.started == (0 if step == "begin" else 3)


def test_an_invalid_span_does_not_hide_the_callers() -> None:
    class Silent(KeepingRecorder):
        def start(self, call: Call, context: Context | None = None) -> Span:
            return INVALID_SPAN

        def finish(self, span: Span, call: Call) -> None:
            assert span is INVALID_SPAN

    recorder = Silent()
    patch.connect(recorder)
    try:
        with recorder.tracer_provider.get_tracer("t").start_as_current_span("outer") as outer:
            assert wrapped(otel.get_current_span)() is outer
    finally:
        patch.connect(None)


def test_a_dropped_stream_ended_when_it_was_last_used(recorder: KeepingRecorder) -> None:
    stream = wrapped(lambda: Counting(3))()
    next(stream)
    del stream
    call = recorder.call
    assert call.end_ns is not None
    assert call.chunk_ns[-1] <= call.end_ns <= call.now()
    assert call.aborted


def test_an_interrupt_in_a_stream_passes_and_ends_the_span(recorder: KeepingRecorder) -> None:
    def ask() -> Iterator[str]:
        yield "a"
        raise KeyboardInterrupt

    stream = wrapped(ask, "lazy")()
    assert next(stream) == "a"
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert recorder.call.error_type == "KeyboardInterrupt"


def test_exceptions_reach_the_caller_as_they_were_raised(recorder: KeepingRecorder) -> None:
    cause, error = KeyError("cause"), ValueError("mine")

    def ask() -> None:
        raise error from cause

    with pytest.raises(ValueError, match="mine") as caught:
        wrapped(ask)()
    assert caught.value is error
    assert (error.__cause__, error.__context__, error.__suppress_context__) == (cause, None, True)
    assert vars(error) == {}


def test_an_exception_handled_around_the_call_is_its_context_as_without_us(
    recorder: KeepingRecorder,
) -> None:
    def ask() -> None:
        raise ValueError("inner")

    def handle() -> None:
        try:
            raise outer
        except KeyError:
            wrapped(ask)()

    outer = KeyError("outer")
    with pytest.raises(ValueError, match="inner") as caught:
        handle()
    assert caught.value.__context__ is outer


def test_a_stream_that_steps_itself_is_refused_as_without_us(recorder: KeepingRecorder) -> None:
    streams: list[Any] = []

    def ask() -> Iterator[Any]:
        yield "a"
        yield next(streams[0])

    streams.append(wrapped(ask, "lazy")())
    assert next(streams[0]) == "a"
    with pytest.raises(ValueError, match="already executing"):
        next(streams[0])
    assert recorder.call.error_type == "ValueError"


def test_calls_of_many_threads_are_told_apart(recorder: KeepingRecorder) -> None:
    provider = Toy()
    ask = wrapped(lambda n: iter([n] * 50), "lazy", provider)
    open_ = wrapped(lambda: Thing(), "open", provider)

    def work(number: int) -> None:
        for _ in range(20):
            thing = open_()
            assert set(ask(number)) == {number}
            del thing

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert recorder.started == len(recorder.calls) == 8 * 20 * 2
    streams = [set(call.chunks) for call in recorder.calls if call.chunks]
    assert len(streams) == 160
    assert all(len(texts) == 1 for texts in streams)


def test_one_stream_read_by_two_threads_is_one_call(recorder: KeepingRecorder) -> None:
    stream = wrapped(lambda: Counting(4000))()
    got: list[int] = []
    threads = [threading.Thread(target=got.extend, args=(stream,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(recorder.calls) == recorder.started == 1


def test_an_opened_call_whose_object_cannot_be_watched_is_over_at_once(
    recorder: KeepingRecorder,
) -> None:
    gate.reraise = False
    provider = Toy()
    create = wrapped(lambda: (False,), "open", provider)
    provider.over = lambda call: False  # type: ignore[method-assign]  # a tuple has no weak reference
    assert create() == (False,)
    assert len(recorder.calls) == 1


OPEN_STEPS = ["begin", "part", "over", "anchor", "keys", "end"]


@pytest.mark.parametrize("step", OPEN_STEPS)
def test_a_providers_fault_never_leaves_an_opened_call_open(
    recorder: KeepingRecorder, step: str
) -> None:
    gate.reraise = False
    provider = Toy(step)
    thing = wrapped(lambda: Thing(), "open", provider)()
    wrapped(lambda this: None, "follow", provider).__get__(thing, Thing)()
    del thing
    assert len(recorder.calls) == recorder.started == (0 if step == "begin" else 1)


def test_a_stream_that_two_threads_step_first_is_begun_once(recorder: KeepingRecorder) -> None:
    both = threading.Barrier(2)

    class Meeting(Toy):
        def request(self, instance: Any, args: Any, kwargs: Any) -> Any:
            both.wait(0.3)
            return super().request(instance, args, kwargs)

    def first(stream: Any) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            next(stream, None)

    gate.reraise = False
    stream = wrapped(lambda: Counting(5), "lazy", Meeting())()
    threads = [threading.Thread(target=first, args=(stream,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert both.n_waiting == 0
    assert recorder.started <= 1
