"""``async_stream`` of the real ``replicate`` package."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
from types import AsyncGeneratorType
from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from llm_observe.tracing.around.context import context
from tests.tracing.doubles import (
    MODEL,
    WORDS,
    KeepingRecorder,
    instrumented,
)
from tests.tracing.providers.slow import Slow, stream

pytestmark = pytest.mark.anyio
VERSIONED = f"{MODEL}:v1"
TEXT = "".join(WORDS)


@pytest.fixture(autouse=True)
def no_context_left_behind(caplog: pytest.LogCaptureFixture) -> Any:
    """OpenTelemetry logs "Failed to detach context" where one was held too long."""
    yield
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_a_stream_is_recorded_with_its_events(recorder: KeepingRecorder) -> None:
    events: Any = await stream(Slow().client())
    assert isinstance(events, AsyncGeneratorType)
    assert inspect.isasyncgen(events)
    assert aiter(events) is events
    assert recorder.started == 0
    kinds: list[Any] = [event async for event in events]
    assert [event.event.value for event in kinds] == ["output"] * 5 + ["logs", "done"]
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    call = recorder.call
    assert ("".join(call.chunks), call.streaming) == (TEXT, True)
    assert call.chunk_ns == sorted(call.chunk_ns)
    assert (call.output_tokens, call.tokens_estimated, call.finish_reason) == (5, True, "succeeded")


async def test_a_stream_that_is_never_stepped_is_no_call(recorder: KeepingRecorder) -> None:
    events = await stream(Slow().client())
    await events.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    assert recorder.started == 0


async def test_closing_it_ends_the_call_once(recorder: KeepingRecorder) -> None:
    events = await stream(Slow().client())
    assert (await anext(events)).data == WORDS[0]
    assert recorder.calls == []
    await events.aclose()
    await events.aclose()
    del events
    gc.collect()
    assert (recorder.call.aborted, recorder.call.chunks) == (True, WORDS[:1])


async def test_break_ends_it_though_the_loop_closes_the_generator_later(
    recorder: KeepingRecorder,
) -> None:
    async for _ in await stream(Slow().client()):
        break
    gc.collect()
    assert recorder.call.aborted
    for _ in range(5):  # the event loop's own task closes the library's generator
        await asyncio.sleep(0)


async def test_an_exception_in_the_body_of_the_loop_is_the_callers(
    recorder: KeepingRecorder,
) -> None:
    async def read() -> None:
        async for _ in await stream(Slow().client()):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await read()
    gc.collect()
    assert (recorder.call.aborted, recorder.call.error_type) == (True, "")


async def test_an_exception_thrown_in_is_the_callers(recorder: KeepingRecorder) -> None:
    events = await stream(Slow().client())
    await events.asend(None)
    with pytest.raises(LookupError):
        await events.athrow(LookupError("mine"))
    assert (recorder.call.aborted, recorder.call.error_type) == (True, "")


async def test_an_error_event_raises_and_is_recorded(recorder: KeepingRecorder) -> None:
    with pytest.raises(RuntimeError, match="the machine is gone"):
        _ = [event async for event in await stream(Slow(stream_error_after=2).client())]
    assert (recorder.call.error_type, recorder.call.chunks) == ("RuntimeError", WORDS[:2])


async def test_a_task_that_is_cancelled_in_the_middle_broke_it_off(
    recorder: KeepingRecorder,
) -> None:
    class Stalling(Slow):
        async def pieces(self) -> Any:
            yield next(self.events())
            await asyncio.Event().wait()

    async def read() -> None:
        async for _ in await stream(Stalling().client()):
            got.set()

    got = asyncio.Event()
    task = asyncio.create_task(read())
    await asyncio.wait_for(got.wait(), 30)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    call = recorder.call
    assert (call.aborted, call.error_type, call.chunks) == (True, "", WORDS[:1])


async def test_it_may_be_finished_in_another_task(recorder: KeepingRecorder) -> None:
    events = await stream(Slow().client())
    first = await anext(events)

    async def rest() -> list[Any]:
        return [event async for event in events]

    assert [first.data, *(event.data for event in await asyncio.create_task(rest()))][:5] == WORDS
    assert "".join(recorder.call.chunks) == TEXT


def test_one_that_outlives_its_event_loop_ends(recorder: KeepingRecorder) -> None:
    kept = []

    async def begin() -> None:
        kept.append(await stream(Slow().client()))
        await anext(kept[0])

    asyncio.run(begin())
    kept.clear()
    gc.collect()
    assert recorder.call.aborted


async def test_spans_between_two_pieces_are_no_children(recorder: KeepingRecorder) -> None:
    tracer = recorder.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("outer") as outer:
        async for _ in await stream(Slow().client()):
            assert otel.get_current_span() is outer
            tracer.start_span("between").end()
    parents = {s.parent.span_id for s in recorder.spans if s.parent is not None}
    assert parents == {outer.get_span_context().span_id}


async def test_session_comes_from_where_the_stream_was_asked_for(
    recorder: KeepingRecorder,
) -> None:
    with context(session="s-1"):
        events = await stream(Slow().client())
    _ = [event async for event in events]
    assert recorder.call.session == "s-1"


async def test_an_unsampled_stream_is_still_a_call() -> None:
    recorder = KeepingRecorder(ALWAYS_OFF)
    with instrumented(recorder):
        _ = [event async for event in await stream(Slow().client())]
    assert recorder.spans == ()
    assert recorder.call.output_tokens == 5
