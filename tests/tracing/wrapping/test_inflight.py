"""Calls under way: found again, ended in time, and left to their own process."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from llm_observe.settings.model import Settings
from llm_observe.tracing.foreign.pipeline import ForeignPipeline
from llm_observe.tracing.gate import gate
from llm_observe.tracing.pipeline import Pipeline
from llm_observe.tracing.wrapping import inflight, patch
from llm_observe.tracing.wrapping.active import Active
from tests.tracing.doubles import KeepingRecorder
from tests.tracing.toys import Thing, Toy, wrapped


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    kept = KeepingRecorder()
    patch.connect(kept)
    gate.reraise = True
    yield kept
    patch.connect(None)
    gate.reraise = False
    assert not inflight.any_open()
    assert inflight._running == {}
    assert inflight._by_key == {}


def follow(provider: Toy, work: Any, ends: bool = False) -> Any:
    return wrapped(work, "follow", provider, ends)


def test_an_opened_call_ends_when_a_follow_says_so(recorder: KeepingRecorder) -> None:
    provider = Toy()
    thing = wrapped(lambda: Thing(), "open", provider)()
    wait = follow(provider, lambda this: setattr(this, "over", True)).__get__(thing, Thing)
    assert recorder.calls == []
    assert wait() is None
    assert recorder.call.response_id == "t-1"


def test_it_lives_as_long_as_any_object_of_it(recorder: KeepingRecorder) -> None:
    provider = Toy()
    first = wrapped(lambda: Thing(), "open", provider)()
    second = follow(provider, lambda this: Thing("t-2")).__get__(first, Thing)()
    assert inflight.named(("toy", "t-2")) is inflight.of(second) is inflight.of(first)
    del first
    assert recorder.calls == []
    del second
    assert recorder.call.aborted


def test_an_address_that_is_used_again_is_not_mistaken(recorder: KeepingRecorder) -> None:
    provider = Toy()
    for _ in range(50):
        thing = wrapped(lambda: Thing(), "open", provider)()
        del thing
        strangers = [Thing() for _ in range(5)]
        assert [inflight.of(stranger) for stranger in strangers] == [None] * 5
    assert recorder.started == len(recorder.calls) == 50


def test_a_cancel_ends_it_whatever_is_said(recorder: KeepingRecorder) -> None:
    provider = Toy()
    thing = wrapped(lambda: Thing(), "open", provider)()
    follow(provider, lambda this: None, ends=True).__get__(thing, Thing)()
    assert recorder.call.aborted


def test_old_calls_end_with_the_next_sweep_and_young_ones_do_not(
    recorder: KeepingRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = wrapped(lambda: Thing(), "open")()
    monkeypatch.setattr(inflight, "_swept", inflight._swept - 10)
    inflight.sweep()
    assert recorder.calls == []
    inflight.sweep(-1.0)
    assert recorder.calls == [], "it looks at most once a second"
    monkeypatch.setattr(inflight, "_swept", inflight._swept - 10)
    inflight.sweep(-1.0)
    assert recorder.call.aborted
    del thing


def test_beginning_a_call_sweeps(
    recorder: KeepingRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = wrapped(lambda: Thing(), "open")()
    active: Any = inflight.of(thing)
    active.call.origin_ns -= int(inflight.OPEN_S * 1e9) + 1
    monkeypatch.setattr(inflight, "_swept", inflight._swept - 10)
    assert wrapped(lambda: "x")() == "x"
    assert [call.aborted for call in recorder.calls] == [True, False]


def test_a_call_that_the_library_works_on_is_not_idle(recorder: KeepingRecorder) -> None:
    seen: list[float] = []

    def ask() -> str:
        seen.extend(call.idle_s for call in inflight._running)
        return "x"

    wrapped(ask)()
    assert seen == [0.0]


def test_an_opened_call_that_is_being_waited_for_or_read_is_not_idle(
    recorder: KeepingRecorder,
) -> None:
    provider = Toy()
    thing = wrapped(lambda: Thing(), "open", provider)()

    def age() -> None:
        call: Any = inflight.of(thing)
        call.call.origin_ns -= int(inflight.OPEN_S * 1e9) + 1
        inflight.end_idle(inflight.OPEN_S)

    def pieces(this: Thing) -> Iterator[str]:
        yield "a"
        age()
        yield "b"

    follow(provider, lambda this: age()).__get__(thing, Thing)()
    assert recorder.calls == []
    stream = wrapped(pieces, "follow_lazy", provider).__get__(thing, Thing)()
    assert next(stream) == "a"
    assert list(stream) == ["b"]
    assert recorder.call.chunks == ["a", "b"]
    assert not recorder.call.aborted


def test_the_end_of_the_process_ends_calls_in_every_state(recorder: KeepingRecorder) -> None:
    def ask() -> str:
        inflight.end_all()
        return "x"

    def pieces() -> Iterator[str]:
        yield "a"
        yield "b"

    stream = wrapped(pieces, "lazy")()
    next(stream)
    assert wrapped(ask)() == "x"
    assert [(call.aborted, call.chunks) for call in recorder.calls] == [(True, ["a"]), (True, [])]
    assert list(stream) == ["b"]
    assert all(call.end_ns is not None for call in recorder.calls)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_a_forked_child_calls_of_the_parent_are_not_its_own(
    recorder: KeepingRecorder,
) -> None:
    def pieces() -> Iterator[str]:
        yield "a"
        yield "b"

    stream, thing = wrapped(pieces, "lazy")(), wrapped(lambda: Thing(), "open")()
    next(stream)
    child = os.fork()
    if not child:
        ok = list(stream) == ["b"]
        del stream, thing
        gc.collect()
        inherited = len(recorder.calls)
        ok = ok and wrapped(lambda: "x")() == "x"
        os._exit(0 if ok and (inherited, len(recorder.calls)) == (0, 1) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert list(stream) == ["b"]
    del thing
    assert recorder.started == len(recorder.calls) == 2


def test_nothing_of_a_call_waits_for_the_garbage_collector(recorder: KeepingRecorder) -> None:
    def pieces() -> Iterator[str]:
        yield "a"
        yield "b"

    gc.collect()
    gc.disable()
    try:
        before = sum(type(thing) is Active for thing in gc.get_objects())
        wrapped(lambda: "x")()
        list(wrapped(pieces, "lazy")())
        next(wrapped(pieces, "lazy")())
        wrapped(lambda: Thing(), "open")()
        assert sum(type(thing) is Active for thing in gc.get_objects()) == before
    finally:
        gc.enable()
    assert recorder.started == len(recorder.calls) == 4


def foreign() -> Any:
    own = Pipeline(Resource({}), Settings())
    return ForeignPipeline(TracerProvider(shutdown_on_exit=False), own)


@pytest.mark.parametrize("make", [lambda: Pipeline(Resource({}), Settings()), foreign])
def test_calls_under_way_end_with_what_records_them(make: Callable[[], Any]) -> None:
    def pieces() -> Iterator[str]:
        yield "a"
        yield "b"

    pipeline = make()
    patch.connect(pipeline)
    try:
        stream, thing = wrapped(pieces, "lazy")(), wrapped(lambda: Thing(), "open")()
        next(stream)
        pipeline.shutdown(30.0)
        assert pipeline.status().calls == 2
        assert list(stream) == ["b"]
        del thing
        assert pipeline.status().calls == 2
    finally:
        patch.connect(None)
        pipeline.shutdown()
