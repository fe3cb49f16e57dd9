"""Coroutines and asynchronous iterators of every kind, around a made-up library."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
from opentelemetry import trace as otel

from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping import patch
from tests.tracing.doubles import KeepingRecorder
from tests.tracing.toys import AsyncClosing, AsyncCounting, Thing, Toy, wrapped

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_context_left_behind(caplog: pytest.LogCaptureFixture) -> Any:
    yield
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    kept = KeepingRecorder()
    patch.connect(kept)
    gate.reraise = True
    yield kept
    patch.connect(None)
    gate.reraise = False


def current() -> int:
    return otel.get_current_span().get_span_context().span_id


async def turn() -> int:
    await asyncio.sleep(0)
    return current()


async def test_what_is_asynchronous_passes_for_no_iterable(recorder: KeepingRecorder) -> None:
    async def ask() -> AsyncIterator[str]:
        yield "a"

    stream = wrapped(ask, "async_lazy")()
    assert not isinstance(stream, Iterable)
    with pytest.raises(TypeError):
        iter(stream)
    assert [item async for item in stream] == ["a"]


async def test_an_iterator_that_is_no_generator_keeps_its_surface(
    recorder: KeepingRecorder,
) -> None:
    stream = wrapped(lambda: AsyncCounting(2))()
    assert isinstance(stream, AsyncCounting)
    assert stream.request_id == "r-1"
    assert not hasattr(stream, "aclose")
    assert not hasattr(stream, "asend")
    assert [item async for item in stream] == [1, 0]
    assert recorder.call.chunks == ["1", "0"]


async def test_aclose_returns_what_it_returned(recorder: KeepingRecorder) -> None:
    stream = wrapped(lambda: AsyncClosing(2))()
    assert await anext(stream) == 1
    assert await stream.aclose() == "closed"
    assert stream.closed
    assert recorder.call.aborted


async def test_a_step_may_be_a_task_where_it_could_be_one(recorder: KeepingRecorder) -> None:
    stream = wrapped(lambda: AsyncCounting(1))()
    assert await asyncio.create_task(stream.__anext__()) == 0
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()
    assert recorder.call.chunks == ["0"]


async def test_the_span_is_current_in_the_librarys_code_and_nowhere_else(
    recorder: KeepingRecorder,
) -> None:
    async def ask() -> AsyncIterator[int]:
        yield await turn()
        yield await asyncio.create_task(turn())
        yield current()

    seen = []
    async for inside in wrapped(ask, "async_lazy")():
        seen.append((inside, current(), await turn()))
    span = recorder.spans[0].context.span_id
    assert seen == [(span, 0, 0)] * 3


async def test_what_else_runs_while_the_library_waits_sees_nothing(
    recorder: KeepingRecorder,
) -> None:
    async def ask() -> str:
        for _ in range(5):
            await asyncio.sleep(0)
        return "x"

    call = asyncio.create_task(wrapped(ask, "async_call")())
    seen = {await turn() for _ in range(10)}
    assert (await call, seen) == ("x", {0})


async def test_a_generator_that_survives_a_throw_goes_on(recorder: KeepingRecorder) -> None:
    async def ask() -> AsyncIterator[str]:
        try:
            yield "a"
        except LookupError:
            yield "b"

    stream = wrapped(ask, "async_lazy")()
    assert await stream.asend(None) == "a"
    assert await stream.athrow(LookupError()) == "b"
    assert [item async for item in stream] == []
    assert (recorder.call.chunks, recorder.call.aborted) == (["a", "b"], False)


async def test_throwing_into_one_that_has_not_begun_is_no_call(recorder: KeepingRecorder) -> None:
    async def ask() -> AsyncIterator[str]:
        yield "a"

    stream = wrapped(ask, "async_lazy")()
    with pytest.raises(LookupError):
        await stream.athrow(LookupError())
    assert [item async for item in stream] == []
    assert recorder.started == 0


async def test_an_async_call_may_return_a_stream(recorder: KeepingRecorder) -> None:
    async def ask() -> AsyncCounting:
        await asyncio.sleep(0)
        return AsyncCounting(2)

    stream = await wrapped(ask, "async_call")()
    assert recorder.calls == []
    assert [item async for item in stream] == [1, 0]
    assert recorder.call.streaming


async def test_one_surface_built_on_another_is_one_call(recorder: KeepingRecorder) -> None:
    provider = Toy()

    async def inner() -> str:
        await asyncio.sleep(0)
        return "x"

    async def outer() -> Any:
        return await asyncio.create_task(wrapped(inner, "async_call", provider)())

    assert await wrapped(outer, "async_call", provider)() == "x"
    assert recorder.started == 1


async def test_a_task_that_outlives_the_call_makes_calls_of_its_own(
    recorder: KeepingRecorder,
) -> None:
    provider = Toy()
    ended = asyncio.Event()
    tasks = []

    async def later() -> Any:
        await ended.wait()
        return wrapped(lambda: "y", provider=provider)()

    async def ask() -> str:
        tasks.append(asyncio.create_task(later()))
        return "x"

    await wrapped(ask, "async_call", provider)()
    ended.set()
    assert await tasks[0] == "y"
    assert recorder.started == len(recorder.calls) == 2


async def test_closing_a_coroutine_that_has_begun_broke_it_off(recorder: KeepingRecorder) -> None:
    async def ask() -> None:
        await asyncio.Event().wait()

    coroutine = wrapped(ask, "async_call")()
    coroutine.send(None)
    coroutine.close()
    assert recorder.call.aborted


async def test_dropping_a_coroutine_that_has_begun_ends_it(recorder: KeepingRecorder) -> None:
    async def ask() -> None:
        await asyncio.Event().wait()

    coroutine = wrapped(ask, "async_call")()
    coroutine.send(None)
    del coroutine
    gc.collect()
    assert recorder.call.aborted


async def test_a_step_that_is_given_up_broke_it_off(recorder: KeepingRecorder) -> None:
    class Hanging(AsyncCounting):
        async def __anext__(self) -> int:
            if self.left < 2:
                await asyncio.Event().wait()
            return await super().__anext__()

    stream = wrapped(lambda: Hanging(2))()
    assert await anext(stream) == 1
    step = stream.__anext__()
    step.send(None)
    step.close()
    assert (recorder.call.aborted, recorder.call.chunks) == (True, ["1"])


async def test_a_timeout_of_the_callers_broke_it_off(recorder: KeepingRecorder) -> None:
    async def ask() -> AsyncIterator[str]:
        yield "a"
        await asyncio.Event().wait()

    async def read() -> None:
        async with asyncio.timeout(0.01):
            async for _ in wrapped(ask, "async_lazy")():
                pass

    with pytest.raises(TimeoutError):
        await read()
    assert (recorder.call.aborted, recorder.call.error_type) == (True, "")


async def test_a_cancellation_that_comes_out_late_is_the_callers(
    recorder: KeepingRecorder,
) -> None:
    """As HTTP libraries shield the closing of a connection."""

    async def ask() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.shield(asyncio.sleep(0))
            await asyncio.sleep(0)

    task = asyncio.create_task(wrapped(ask, "async_call")())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (recorder.call.aborted, recorder.call.error_type) == (True, "")


async def test_closing_in_the_loops_own_task_is_silent(recorder: KeepingRecorder) -> None:
    closed = asyncio.Event()

    async def ask() -> AsyncIterator[int]:
        try:
            yield current()
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.set()

    stream = wrapped(ask, "async_lazy")()
    await anext(stream)
    del stream
    gc.collect()
    await asyncio.wait_for(closed.wait(), 30)
    assert recorder.call.aborted


async def test_contextlib_closes_it(recorder: KeepingRecorder) -> None:
    async def ask() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    async with contextlib.aclosing(wrapped(ask, "async_lazy")()) as stream:
        assert await anext(stream) == "a"
    assert recorder.call.aborted


@pytest.mark.parametrize("step", ["begin", "result", "opened", "reader", "end"])
async def test_a_providers_fault_costs_a_step_and_never_the_call(
    recorder: KeepingRecorder, step: str
) -> None:
    gate.reraise = False
    provider = Toy(step)

    async def ask() -> str:
        return "x"

    async def pieces() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    before = gate.count
    assert await wrapped(ask, "async_call", provider)() == "x"
    assert [item async for item in wrapped(pieces, "async_lazy", provider)()] == ["a", "b"]
    assert [item async for item in wrapped(lambda: AsyncCounting(2), "call", provider)()] == [1, 0]
    assert gate.count > before
    assert len(recorder.calls) == recorder.started == (0 if step == "begin" else 3)


async def test_without_a_recorder_the_librarys_own_objects_come_through() -> None:
    async def ask() -> Thing:
        return Thing()

    coroutine = wrapped(ask, "async_call")()
    assert type(coroutine).__name__ == "coroutine"
    assert (await coroutine).name == "t-1"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert type(wrapped(lambda: AsyncCounting(1))()) is AsyncCounting
