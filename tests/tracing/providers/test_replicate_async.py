"""``async_run`` and asynchronous ``create`` of the real ``replicate`` package."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from types import AsyncGeneratorType, CoroutineType
from typing import Any

import httpx
import pytest
import replicate
from opentelemetry import trace as otel
from replicate import async_run as async_run_imported_before
from replicate.client import Client
from replicate.exceptions import ModelError

from llm_observe.tracing.call import Message
from tests.tracing.doubles import (
    MODEL,
    PROMPT,
    WORDS,
    KeepingRecorder,
    ReplicateAPI,
)
from tests.tracing.providers.slow import Slow
from tests.tracing.providers.test_replicate_open import deployment

pytestmark = pytest.mark.anyio
VERSIONED = f"{MODEL}:v1"
TEXT = "".join(WORDS)


@pytest.fixture(autouse=True)
def no_context_left_behind(caplog: pytest.LogCaptureFixture) -> Any:
    """OpenTelemetry logs "Failed to detach context" where one was held too long."""
    yield
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_a_run_returns_what_it_returned_and_is_recorded(recorder: KeepingRecorder) -> None:
    value = await Slow(polls=1).client().async_run(MODEL, input=PROMPT)
    assert (value, type(value)) == (WORDS, list)
    call = recorder.call
    assert (call.input_tokens, call.output_tokens, call.finish_reason) == (7, 5, "stop")
    assert call.messages_out == [Message("assistant", TEXT)]
    assert (call.response_id, call.server_address) == ("pred-1", "api.replicate.com")


async def test_names_imported_earlier_are_recorded(
    recorder: KeepingRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Slow().client()
    monkeypatch.setattr(replicate.default_client, "_Client__async_client", client._async_client)
    assert await async_run_imported_before(MODEL, input=PROMPT) == WORDS
    assert await replicate.async_run(MODEL, input=PROMPT) == WORDS
    assert len([event async for event in await replicate.async_stream(MODEL, input=PROMPT)]) == 7
    assert (recorder.started, len(recorder.calls)) == (3, 3)


async def test_an_iterator_of_a_run_keeps_its_type_and_is_recorded(
    recorder: KeepingRecorder,
) -> None:
    pieces = await Slow(polls=2).client().async_run(VERSIONED, input=PROMPT, wait=False)
    assert isinstance(pieces, AsyncGeneratorType)
    assert recorder.calls == []
    got = [piece async for piece in pieces]
    assert recorder.call.chunks == got
    assert (recorder.call.streaming, recorder.call.output_tokens) == (True, 5)


async def test_a_failed_model_raises_as_before(recorder: KeepingRecorder) -> None:
    with pytest.raises(ModelError, match="out of memory") as caught:
        await Slow(status="failed").client().async_run(MODEL, input=PROMPT)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert recorder.call.error_type == "ModelError"


async def test_a_run_that_is_never_awaited_is_no_call_and_warns_once(
    recorder: KeepingRecorder,
) -> None:
    client = Slow().client()
    made = [client.predictions.async_create("v1", PROMPT)]
    with pytest.warns(RuntimeWarning, match="never awaited") as warned:
        made.clear()
    assert len(warned) == 1
    assert recorder.started == 0


async def test_a_coroutine_that_is_closed_before_it_began_is_no_call(
    recorder: KeepingRecorder,
) -> None:
    coroutine = Slow().client().predictions.async_create("v1", PROMPT)
    coroutine.close()
    with pytest.raises(RuntimeError, match="cannot reuse"):
        await coroutine
    assert recorder.started == 0


async def test_what_it_gives_is_a_coroutine_to_everybody(recorder: KeepingRecorder) -> None:
    client = ReplicateAPI().client()
    coroutine = client.models.predictions.async_create(MODEL, PROMPT, wait=True)
    assert inspect.iscoroutine(coroutine)
    assert inspect.isawaitable(coroutine)
    assert asyncio.iscoroutine(coroutine)
    assert isinstance(coroutine, CoroutineType | Coroutine)
    assert not hasattr(type(coroutine), "__next__")
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
    prediction = await asyncio.create_task(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert prediction.status == "succeeded"
    assert recorder.call.finish_reason == "stop"


async def test_wrong_arguments_fail_where_they_always_did(recorder: KeepingRecorder) -> None:
    with pytest.raises(TypeError):
        await Slow().client().models.predictions.async_create(no=1)  # type: ignore[call-arg]  # on purpose
    assert recorder.started == 0


async def test_a_cancelled_run_was_broken_off(recorder: KeepingRecorder) -> None:
    class Hanging(Slow):
        async def later(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    task = asyncio.ensure_future(Hanging().client().async_run(MODEL, input=PROMPT))
    for _ in range(20):
        await asyncio.sleep(0)
    assert recorder.started == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (recorder.call.aborted, recorder.call.error_type) == (True, "")


async def test_one_that_is_cancelled_before_its_first_step_is_no_call(
    recorder: KeepingRecorder,
) -> None:
    client = Slow().client()
    task = asyncio.create_task(client.predictions.async_create("v1", PROMPT))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.started == 0


async def test_runs_side_by_side_are_told_apart(recorder: KeepingRecorder) -> None:
    seen: dict[bytes, set[int]] = {}

    class Looking(Slow):
        def answer(self, request: httpx.Request) -> httpx.Response:
            span = otel.get_current_span().get_span_context().span_id
            seen.setdefault(request.url.path.encode(), set()).add(span)
            return super().answer(request)

    client = Looking(polls=0).client()
    runs = [client.async_run(MODEL, input=PROMPT, wait=False) for _ in range(5)]
    assert await asyncio.gather(*runs) == [WORDS] * 5
    spans = {span.context.span_id for span in recorder.spans}
    assert len(spans) == recorder.started == 5
    polls = {path: ids for path, ids in seen.items() if b"pred-" in path}
    assert [len(ids) for ids in polls.values()] == [1] * 5
    assert set().union(*polls.values()) == spans
    assert not otel.get_current_span().get_span_context().is_valid


CREATES: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "by version": lambda c: c.predictions.async_create("v1", PROMPT),
    "by model": lambda c: c.predictions.async_create(model=MODEL, input=PROMPT),
    "by deployment": lambda c: c.predictions.async_create(deployment="me/llama", input=PROMPT),
    "models": lambda c: c.models.predictions.async_create(MODEL, PROMPT),
    "deployments": lambda c: c.deployments.predictions.async_create("me/llama", PROMPT),
    "a deployment": lambda c: deployment(c).predictions.async_create(PROMPT),
}


@pytest.mark.parametrize("make", CREATES.values(), ids=CREATES)
async def test_every_create_opens_one_call_that_wait_ends(
    recorder: KeepingRecorder, make: Callable[[Client], Awaitable[Any]]
) -> None:
    prediction = await make(Slow(polls=2).client())
    assert (recorder.started, recorder.calls) == (1, [])
    await prediction.async_wait()
    assert recorder.call.messages_out == [Message("assistant", TEXT)]
    assert (recorder.call.output_tokens, recorder.call.response_id) == (5, "pred-1")


async def test_reloads_and_gets_go_on_with_it(recorder: KeepingRecorder) -> None:
    client = Slow(polls=2).client()
    prediction = await client.predictions.async_create("v1", PROMPT)
    await prediction.async_reload()
    await client.predictions.async_get(prediction.id)
    assert recorder.calls == []
    await prediction.async_reload()
    assert recorder.call.finish_reason == "stop"


@pytest.mark.parametrize("by_id", [False, True])
async def test_cancelling_ends_it(recorder: KeepingRecorder, by_id: bool) -> None:
    client = Slow(polls=5).client()
    prediction = await client.predictions.async_create("v1", PROMPT)
    if by_id:
        await client.predictions.async_cancel(prediction.id)
    else:
        await prediction.async_cancel()
    assert (recorder.call.finish_reason, recorder.call.aborted) == ("canceled", True)


async def test_its_stream_and_its_output_are_the_calls(recorder: KeepingRecorder) -> None:
    client = Slow(polls=1).client()
    first = await client.predictions.async_create("v1", PROMPT)
    _ = [event async for event in first.async_stream()]
    second = await client.predictions.async_create("v1", PROMPT)
    pieces = [piece async for piece in second.async_output_iterator()]
    assert [call.chunks for call in recorder.calls] == [WORDS, pieces]


async def test_a_wait_that_is_cancelled_leaves_it_open(recorder: KeepingRecorder) -> None:
    api = Slow(polls=10**9)
    prediction = await api.client().predictions.async_create("v1", PROMPT)
    task = asyncio.create_task(prediction.async_wait())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.calls == []
    api.polls = 0
    await prediction.async_wait()
    assert (recorder.call.aborted, recorder.call.finish_reason) == (False, "stop")


async def test_a_create_that_is_cancelled_was_broken_off(recorder: KeepingRecorder) -> None:
    class Hanging(Slow):
        async def later(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    task = asyncio.create_task(Hanging().client().predictions.async_create("v1", PROMPT))
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.call.aborted
