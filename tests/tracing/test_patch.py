"""The wrapper around a made-up library, whose iterators are of every kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import pytest
import wrapt
from opentelemetry import trace as otel
from opentelemetry.trace import INVALID_SPAN, Span

from llm_observe.tracing import patch
from llm_observe.tracing.call import Call
from llm_observe.tracing.gate import gate
from llm_observe.tracing.patch import Patch
from llm_observe.tracing.providers.base import Target
from tests.tracing.doubles import KeepingRecorder


class Toy:
    """A provider whose answers are texts; ``broken`` names the step in which it raises."""

    name = library = "toy"
    majors = (1,)
    targets: tuple[Target, ...] = ()

    def __init__(self, broken: str = "") -> None:
        self.broken = broken

    def _at(self, step: str) -> None:
        if step == self.broken:
            raise RuntimeError("our own fault")

    def request(self, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        self._at("begin")
        return Call(provider="toy", request_model="m")

    def part(self, call: Call, value: Any) -> None:
        self._at("part")
        call.response_id = str(value)

    def result(self, call: Call, value: Any) -> None:
        self._at("result")

    def opened(self, call: Call) -> None:
        self._at("opened")
        call.streaming = True

    def reader(self, call: Call) -> Callable[[Any], object]:
        def read(item: Any) -> None:
            self._at("reader")
            call.received.append((time.perf_counter_ns(), str(item)))

        return read

    def anchor(self, value: Any) -> Any:
        self._at("anchor")
        return value

    def keys(self, call: Call) -> tuple[Hashable, ...]:
        self._at("keys")
        return (call.response_id,)

    def over(self, call: Call) -> bool:
        self._at("over")
        return call.response_id == "done"

    def end(self, call: Call) -> None:
        self._at("end")


class Counting:
    """An iterator that is no generator, with a surface of its own."""

    request_id = "r-1"

    def __init__(self, n: int) -> None:
        self.left = n

    def __iter__(self) -> Counting:
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left

    def parse(self) -> str:
        return f"{self.left} left"


class Closing(Counting):
    closed = False

    def close(self) -> str:
        self.closed = True
        return "closed"


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    kept = KeepingRecorder()
    patch.connect(kept)
    gate.reraise = True
    yield kept
    patch.connect(None)
    gate.reraise = False


def wrapped(function: Any, kind: Any = "call", provider: Toy | None = None) -> Any:
    toy = provider or Toy()
    return wrapt.FunctionWrapper(function, Patch(toy, Target("toy", "ask", kind, toy.request)))


def test_an_iterator_keeps_its_surface_and_gains_no_method(recorder: KeepingRecorder) -> None:
    stream = wrapped(lambda: Counting(2))()
    assert isinstance(stream, Counting)
    assert (stream.request_id, stream.parse()) == ("r-1", "2 left")
    assert not hasattr(stream, "close")
    assert not hasattr(stream, "send")
    assert list(stream) == [1, 0]
    assert recorder.call.chunks == ["1", "0"]


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
        def start(self, call: Call) -> Span:
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
