"""Calls that a low-level ``create`` opens, and everything that ends them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import GeneratorType
from typing import Any

import httpx
import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.call import Message
from llm_observe.tracing.rendering.render import render
from llm_observe.tracing.wrapping import inflight
from tests.tracing.doubles import MODEL, PROMPT, WORDS, KeepingRecorder, ReplicateAPI

TEXT = "".join(WORDS)


def create(client: Client) -> Any:
    return client.models.predictions.create(MODEL, PROMPT)


def deployment(client: Client) -> Any:
    made: Any = __import__("replicate.deployment", fromlist=["x"])
    release = {"number": 1, "model": MODEL, "version": "v1", "created_at": "2026"}
    shape = {"hardware": "cpu", "min_instances": 0, "max_instances": 1}
    return made._json_to_deployment(
        client,
        {
            "owner": "me",
            "name": "llama",
            "current_release": {**release, "created_by": None, "configuration": shape},
        },
    )


CREATES: dict[str, tuple[Callable[[Client], Any], str]] = {
    "by version": (lambda c: c.predictions.create("v1", PROMPT), MODEL),
    "by version, named": (lambda c: c.predictions.create(version="v1", input=PROMPT), MODEL),
    "by model": (lambda c: c.predictions.create(model=MODEL, input=PROMPT), MODEL),
    "by a pair": (
        lambda c: c.predictions.create(model=("meta", "llama-2-7b-chat"), input=PROMPT),
        MODEL,
    ),
    "by deployment": (
        lambda c: c.predictions.create(deployment="me/llama", input=PROMPT),
        "me/llama",
    ),
    "models": (create, MODEL),
    "models, named": (lambda c: c.models.predictions.create(model=MODEL, input=PROMPT), MODEL),
    "deployments": (lambda c: c.deployments.predictions.create("me/llama", PROMPT), "me/llama"),
    "a deployment": (lambda c: deployment(c).predictions.create(PROMPT), "me/llama"),
}


@pytest.mark.parametrize(("make", "model"), CREATES.values(), ids=CREATES)
def test_every_create_opens_one_call_that_wait_ends(
    recorder: KeepingRecorder, make: Callable[[Client], Any], model: str
) -> None:
    prediction = make(ReplicateAPI(polls=2).client())
    assert (recorder.started, recorder.calls) == (1, [])
    assert prediction.wait() is None
    call = recorder.call
    assert (call.request_model, call.response_model, call.system) == (model, MODEL, "meta")
    assert call.messages_out == [Message("assistant", TEXT)]
    assert call.input == [Message("user", PROMPT["prompt"])]  # type: ignore[arg-type]  # it is a text
    assert (call.input_tokens, call.output_tokens, call.queue_ms) == (7, 5, 1500.0)
    assert (call.response_id, call.finish_reason, call.streaming) == ("pred-1", "stop", False)
    assert recorder.spans[0].name == f"{call.operation} {model}"
    del prediction
    assert len(recorder.calls) == 1


def test_a_create_that_waited_is_over_at_once(recorder: KeepingRecorder) -> None:
    prediction = ReplicateAPI().client().models.predictions.create(MODEL, PROMPT, wait=True)
    assert (prediction.status, recorder.call.output_tokens) == ("succeeded", 5)
    assert not inflight.any_open()


@pytest.mark.parametrize("fault", [None, httpx.ConnectError("no route")])
def test_a_create_that_fails_is_a_failed_call(
    recorder: KeepingRecorder, fault: Exception | None
) -> None:
    with pytest.raises((ReplicateError, httpx.ConnectError)) as caught:
        create(ReplicateAPI(create_status=422, create_fault=fault).client())
    call = recorder.call
    assert call.error_type == type(caught.value).__qualname__
    assert not call.aborted


def test_reloads_end_it_when_the_answer_is_there(recorder: KeepingRecorder) -> None:
    prediction = create(ReplicateAPI(polls=2).client())
    for _ in range(2):
        prediction.reload()
        assert recorder.calls == []
    prediction.reload()
    assert recorder.call.output_tokens == 5


def test_getting_it_again_goes_on_with_it(recorder: KeepingRecorder) -> None:
    client = ReplicateAPI(polls=1).client()
    first = create(client)
    second = client.predictions.get(first.id)
    del first
    gc.collect()
    assert recorder.calls == [], "the app still holds the second"
    second.reload()
    assert recorder.call.finish_reason == "stop"


def test_somebody_elses_prediction_is_no_call(recorder: KeepingRecorder) -> None:
    client = ReplicateAPI(polls=1).client()
    mine = create(client)
    theirs = client.predictions.get("their-id")
    theirs.wait()
    theirs.reload()
    assert (recorder.started, recorder.calls) == (1, [])
    mine.wait()
    assert recorder.call.response_id == "pred-1"


def test_a_stream_of_it_is_the_calls(recorder: KeepingRecorder) -> None:
    api = ReplicateAPI()
    prediction = create(api.client())
    events = prediction.stream()
    assert isinstance(events, GeneratorType)
    assert [event.data for event in events][:5] == WORDS
    call = recorder.call
    assert ("".join(call.chunks), call.streaming) == (TEXT, True)
    assert call.time_to_first_chunk_s is not None
    assert call.completion is not None
    call.completion()
    assert (call.output_tokens, call.tokens_estimated) == (5, False)


def test_polling_its_output_is_the_calls(recorder: KeepingRecorder) -> None:
    pieces = list(create(ReplicateAPI(polls=2).client()).output_iterator())
    call = recorder.call
    assert call.chunks == pieces
    assert (call.streaming, call.output_tokens, call.completion) == (True, 5, None)


def test_a_stream_that_is_never_stepped_leaves_it_open(recorder: KeepingRecorder) -> None:
    prediction = create(ReplicateAPI().client())
    prediction.stream().close()
    assert recorder.calls == []
    prediction.wait()
    assert recorder.call.finish_reason == "stop"


def test_breaking_its_stream_off_ends_it(recorder: KeepingRecorder) -> None:
    prediction = create(ReplicateAPI().client())
    for _ in prediction.stream():
        break
    assert (recorder.call.aborted, recorder.call.chunks) == (True, WORDS[:1])
    prediction.wait()
    assert len(recorder.calls) == 1


@pytest.mark.parametrize("by_id", [False, True])
def test_cancelling_ends_it(recorder: KeepingRecorder, by_id: bool) -> None:
    client = ReplicateAPI(polls=5).client()
    prediction = create(client)
    client.predictions.cancel(prediction.id) if by_id else prediction.cancel()
    call = recorder.call
    assert (call.finish_reason, call.aborted, call.error_type) == ("canceled", True, "")


def test_a_model_that_failed_is_a_failed_call_though_nothing_was_raised(
    recorder: KeepingRecorder,
) -> None:
    prediction = create(ReplicateAPI(status="failed").client())
    prediction.wait()
    call = recorder.call
    assert (call.error_type, call.error_message) == ("ModelError", "out of memory")
    assert call.finish_reason == "error"
    assert call.logs.startswith("loading")


def test_logs_of_a_failed_model_leave_at_full_only(recorder: KeepingRecorder) -> None:
    with pytest.raises(ModelError):
        ReplicateAPI(status="failed").client().run(MODEL, PROMPT)
    for level in CaptureLevel:
        shown = "CUDA error" in str(render(recorder.call, level))
        assert shown == (level is CaptureLevel.FULL), level


def test_a_wait_that_fails_may_be_tried_again(recorder: KeepingRecorder) -> None:
    api = ReplicateAPI(reload_status=404)
    prediction = create(api.client())
    with pytest.raises(ReplicateError):
        prediction.wait()
    assert recorder.calls == []
    api.reload_status = 200
    prediction.wait()
    call = recorder.call
    assert (call.error_type, call.finish_reason, call.error) == ("", "stop", None)


def test_a_wait_that_fails_at_last_is_a_failed_call(recorder: KeepingRecorder) -> None:
    prediction = create(ReplicateAPI(reload_status=404).client())
    with pytest.raises(ReplicateError):
        prediction.wait()
    del prediction
    gc.collect()
    call = recorder.call
    assert (call.error_type, call.aborted, call.finish_reason) == ("ReplicateError", False, "error")
