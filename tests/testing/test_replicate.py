from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from itertools import count
from typing import Any

import httpx
import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from llm_observe.testing import (
    EngineError,
    FakeReplicate,
    Fault,
    GenerationRequest,
    ScriptedEngine,
    ServerLimits,
    TextChunk,
    Usage,
    serve_in_thread,
)
from llm_observe.testing.catalogue import LLAMA_MODELS
from tests.testing.conftest import Connect

MODEL = "meta/llama-2-7b-chat"
WORDS = ["Hello", " there,", " friend."]
ASK = {"prompt": "Hi you"}


def fake(answer: str = "Hello there, friend.", **options: Any) -> FakeReplicate:
    return FakeReplicate(ScriptedEngine([answer]), **options)


def texts(client: Client, **given: Any) -> list[str]:
    return [str(event) for event in client.stream(MODEL, input={**ASK, **given})]


def test_run_of_an_official_model_returns_the_output_as_a_list(connect: Connect) -> None:
    assert connect(fake()).run(MODEL, input=ASK) == WORDS


def test_run_by_version_iterates_the_output(connect: Connect) -> None:
    output = connect(fake()).run(f"{MODEL}:{LLAMA_MODELS[MODEL]}", input=ASK)
    assert isinstance(output, Iterator)
    assert list(output) == WORDS


def test_run_without_waiting_polls_until_the_end(connect: Connect) -> None:
    server = fake()
    assert connect(server).run(MODEL, input=ASK, wait=False) == WORDS
    assert sum(n for key, n in server.requests.items() if key.startswith("GET /v1/pred")) >= 1


def test_a_polling_iterator_gives_each_chunk_once(connect: Connect) -> None:
    server = fake()
    server.script(Fault(chunk_s=0.01))
    reference = f"{MODEL}:{LLAMA_MODELS[MODEL]}"
    assert list(connect(server).run(reference, input=ASK, wait=False)) == WORDS


def test_a_wait_that_runs_out_answers_starting_and_the_client_polls_on(connect: Connect) -> None:
    server = fake(limits=ServerLimits(longest_wait_s=0.01))
    server.script(Fault(queue_s=0.2))
    client = connect(server)
    prediction = client.models.predictions.create(MODEL, input=ASK, wait=True)
    assert prediction.status == "starting"
    prediction.wait()
    assert prediction.output == WORDS


def test_a_deployment_answers_with_its_model(connect: Connect) -> None:
    client = connect(fake(deployments={"acme/chat": MODEL}))
    prediction = client.deployments.predictions.create("acme/chat", input=ASK)
    prediction.wait()
    assert (prediction.model, prediction.output) == (MODEL, WORDS)
    release = client.deployments.get("acme/chat").current_release
    assert release is not None
    assert release.version == LLAMA_MODELS[MODEL]


def test_models_and_their_versions_can_be_read(connect: Connect) -> None:
    client = connect(fake())
    model = client.models.get(MODEL)
    assert model.latest_version is not None
    assert [each.id for each in model.versions.list().results] == [model.latest_version.id]


def test_a_stream_brings_the_output_and_then_done(connect: Connect) -> None:
    events = list(connect(fake("One\ntwo\n\nthree")).stream(MODEL, input=ASK))
    assert [event.event.value for event in events] == ["output"] * 3 + ["done"]
    assert "".join(map(str, events)) == "One\ntwo\n\nthree"
    assert events[-1].data == "{}"
    assert len({event.id for event in events}) == 4


def test_a_stream_survives_silence_by_comments(connect: Connect) -> None:
    server = fake(limits=ServerLimits(keep_alive_s=0.01))
    server.script(Fault(queue_s=0.1))
    assert "".join(texts(connect(server))) == "Hello there, friend."


@pytest.mark.anyio
async def test_the_asynchronous_client_runs_and_streams() -> None:
    with serve_in_thread(fake()) as server:
        client = Client("any", base_url=server.url)
        assert await client.async_run(MODEL, input=ASK) == WORDS
        events = [str(each) async for each in await client.async_stream(MODEL, input=ASK)]
        await client._async_client.aclose()
    assert events == [*WORDS, ""]


def test_a_finished_prediction_tells_its_numbers_and_times(connect: Connect) -> None:
    ticks = count(1_700_000_000)
    client = connect(fake(now=lambda: float(next(ticks))))
    prediction = client.models.predictions.create(MODEL, input={**ASK, "system_prompt": "Be kind"})
    prediction.wait()
    # created at 0, started at 1, chunk at 2, then at most one reading per chunk, completed
    metrics = prediction.metrics
    assert metrics is not None
    assert metrics["input_token_count"] == 4
    assert metrics["output_token_count"] == 3
    assert metrics["time_to_first_token"] == 1
    assert metrics["total_time"] == metrics["predict_time"] + 1
    assert metrics["tokens_per_second"] == pytest.approx(3 / metrics["predict_time"])
    assert prediction.created_at == "2023-11-14T22:13:20.000000Z"
    assert prediction.started_at == "2023-11-14T22:13:21.000000Z"
    assert prediction.completed_at is not None
    assert prediction.logs == ""


def test_a_running_prediction_has_no_metrics_yet(connect: Connect) -> None:
    server = fake()
    server.script(Fault(queue_s=60))
    prediction = connect(server).models.predictions.create(MODEL, input=ASK)
    assert (prediction.status, prediction.metrics, prediction.output) == ("starting", {}, None)
    prediction.cancel()


def test_a_blocking_answer_may_come_early_without_metrics(connect: Connect) -> None:
    server = fake()
    server.script(Fault(early_answer=True))
    prediction = connect(server).models.predictions.create(MODEL, input=ASK, wait=True)
    assert (prediction.status, prediction.metrics, prediction.output) == ("processing", {}, WORDS)


def test_cancelling_stops_the_engine_and_ends_the_prediction(connect: Connect) -> None:
    stopped = threading.Event()
    client = connect(FakeReplicate(_Endless(stopped)))
    prediction = client.models.predictions.create(MODEL, input=ASK)
    with closing(prediction.stream()) as stream:  # type: ignore[type-var]  # it is a generator
        next(stream)
    prediction.cancel()
    assert prediction.status == "canceled"
    assert stopped.wait(30)
    prediction.reload()
    assert (prediction.status, prediction.error) == ("canceled", None)


@pytest.mark.parametrize("asked", ["stream", "run"])
def test_a_client_that_leaves_frees_the_engine_if_the_server_is_told_so(asked: str) -> None:
    stopped = threading.Event()
    app = FakeReplicate(_Endless(stopped), cancel_on_disconnect=True)
    with serve_in_thread(app) as server:
        _leave_early(Client("any", base_url=server.url), asked)
        assert stopped.wait(30)


def _leave_early(client: Client, asked: str) -> None:
    if asked == "stream":
        stream = client.stream(MODEL, input=ASK)
        next(stream)
        stream.close()  # type: ignore[attr-defined]  # it is a generator
    else:
        client._timeout = httpx.Timeout(0.2)
        with pytest.raises(httpx.ReadTimeout):
            client._client.post(
                f"/v1/models/{MODEL}/predictions",
                json={"input": ASK},
                headers={"Prefer": "wait"},
            )
    client._client.close()


def test_without_that_a_prediction_goes_on_when_its_reader_leaves(connect: Connect) -> None:
    server = fake()
    server.script(Fault(chunk_s=0.02))
    client = connect(server)
    stream = client.stream(MODEL, input=ASK)
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    (listed,) = client.predictions.list().results
    listed.wait()
    assert (listed.status, listed.output) == ("succeeded", WORDS)


def test_a_failed_prediction_raises_in_run_and_keeps_what_came(connect: Connect) -> None:
    server = fake()
    server.script(Fault(fail_after=1, error="out of memory"))
    with pytest.raises(ModelError, match="out of memory") as caught:
        connect(server).run(MODEL, input=ASK)
    assert caught.value.prediction.output == ["Hello"]


def test_a_failure_in_a_stream_comes_as_an_error_event(connect: Connect) -> None:
    server = fake()
    server.script(Fault(fail_after=0, error="out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        texts(connect(server))


def test_a_prediction_cancelled_by_somebody_else_ends_its_stream(connect: Connect) -> None:
    server = fake()
    server.script(Fault(cancel_after=2))
    events = list(connect(server).stream(MODEL, input=ASK))
    assert [str(event) for event in events[:-1]] == WORDS[:2]
    assert events[-1].data == '{"reason": "canceled"}'


def test_an_engine_that_fails_in_any_way_fails_the_prediction(connect: Connect) -> None:
    def answer(request: GenerationRequest) -> str:
        raise EngineError("no more memory") if request.prompt == "known" else ValueError("boom")

    client = connect(FakeReplicate(ScriptedEngine(answer)))
    with pytest.raises(ModelError, match=r"^no more memory$"):
        client.run(MODEL, input={"prompt": "known"})
    with pytest.raises(ModelError, match="the engine failed: ValueError"):
        client.run(MODEL, input={"prompt": "unknown"})


def test_a_broken_stream_breaks_off_and_the_prediction_ends_well(connect: Connect) -> None:
    server = fake()
    server.script(Fault(break_stream_after=1))
    client = connect(server)
    with pytest.raises(httpx.RemoteProtocolError):
        texts(client)
    (listed,) = client.predictions.list().results
    listed.wait()
    assert listed.status == "succeeded"


def test_a_cut_create_is_a_network_error(connect: Connect) -> None:
    server = fake()
    server.script(Fault(no_answer=True))
    with pytest.raises(httpx.RemoteProtocolError):
        connect(server).run(MODEL, input=ASK)


@pytest.mark.parametrize("header", [b"Bearer wrong", b"", b"right", "Bearer rïght".encode()])
def test_a_wrong_token_is_refused_everywhere(header: bytes) -> None:
    with (
        serve_in_thread(fake(token="right")) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        headers = {b"Authorization": header}
        for method, path in [
            ("GET", "/v1/predictions"),
            ("GET", f"/v1/models/{MODEL}"),
            ("POST", "/v1/predictions"),
            ("POST", f"/v1/models/{MODEL}/predictions"),
        ]:
            answer = client.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["title"]) == (401, "Unauthenticated")


def test_the_right_token_is_let_in(connect: Connect) -> None:
    assert connect(fake(token="right"), "right").run(MODEL, input=ASK) == WORDS


def test_a_missing_token_is_told_to_the_client(connect: Connect) -> None:
    with pytest.raises(ReplicateError) as caught:
        connect(fake(token="right"), "wrong").run(MODEL, input=ASK)
    assert caught.value.status == 401


def test_what_is_not_there_is_404(connect: Connect) -> None:
    client = connect(fake())
    for ask in (
        lambda: client.run("nobody/nothing", input=ASK),
        lambda: client.predictions.get("nothing"),
        lambda: client.predictions.cancel("nothing"),
        lambda: client.models.get("nobody/nothing"),
        lambda: client.deployments.get("nobody/nothing"),
        lambda: client.deployments.predictions.create("nobody/nothing", input=ASK),
        lambda: client.models.get(MODEL).versions.get("0"),
        lambda: client._request("GET", "/v2"),
    ):
        with pytest.raises(ReplicateError) as caught:
            ask()
        assert caught.value.status == 404


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "prompt is required"),
        ({"prompt": 3}, "input.prompt: Invalid type. Expected: string, given: int"),
        ({**ASK, "temperature": -1}, "input.temperature: Must be greater than or equal to 0"),
        ({**ASK, "top_p": 1.5}, "input.top_p: Must be less than or equal to 1"),
        ({**ASK, "max_new_tokens": 0}, "input.max_new_tokens: Must be greater"),
        ({**ASK, "max_new_tokens": True}, "input.max_new_tokens: Invalid type"),
        ({"prompt": "x" * 200_001}, "input: too long"),
    ],
)
def test_wrong_input_is_422_and_says_which_field(
    connect: Connect, given: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ReplicateError) as caught:
        connect(fake()).run(MODEL, input=given)
    assert caught.value.status == 422
    assert complaint in str(caught.value.detail)


def test_an_unknown_version_is_422(connect: Connect) -> None:
    with pytest.raises(ReplicateError) as caught:
        connect(fake()).run(f"{MODEL}:abc", input=ASK)
    assert caught.value.status == 422


def test_a_scripted_rate_limit_carries_retry_after() -> None:
    app = fake()
    app.script(Fault(status=429, detail="slow down", retry_after_s=7))
    with serve_in_thread(app) as server:
        answer = httpx.post(f"{server.url}/v1/models/{MODEL}/predictions", json={"input": ASK})
        again = httpx.post(f"{server.url}/v1/models/{MODEL}/predictions", json={"input": ASK})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["detail"] == "slow down"
    assert again.status_code == 201


def test_more_than_may_run_at_once_is_throttled(connect: Connect) -> None:
    server = fake(limits=ServerLimits(running=1))
    server.script(Fault(queue_s=60))
    client = connect(server)
    first = client.models.predictions.create(MODEL, input=ASK)
    with pytest.raises(ReplicateError) as caught:
        client.run(MODEL, input=ASK)
    assert caught.value.status == 429
    first.cancel()


def test_predictions_are_forgotten_beyond_the_bound_oldest_first(connect: Connect) -> None:
    ids = (f"p{number}" for number in count())
    server = fake(limits=ServerLimits(predictions=2), new_id=lambda: next(ids))
    client = connect(server)
    for _ in range(4):
        client.run(MODEL, input=ASK)
    assert [each.id for each in client.predictions.list().results] == ["p3", "p2"]
    assert len(server.predictions) == 2


@pytest.mark.parametrize(
    ("body", "status"), [(b"x" * 2000, 413), (b"not json", 400), (b"[1]", 400), (b"[" * 900, 400)]
)
def test_bodies_that_are_too_large_or_no_object_are_refused(body: bytes, status: int) -> None:
    with serve_in_thread(fake(limits=ServerLimits(body_bytes=1000))) as server:
        answer = httpx.post(f"{server.url}/v1/predictions", content=body)
    assert answer.status_code == status


def test_health_says_what_answers() -> None:
    app = FakeReplicate(ScriptedEngine(reason="no model here"))
    with serve_in_thread(app) as server:
        health = httpx.get(f"{server.url}/healthz").json()
    assert health == {"engine": "scripted", "real": False, "reason": "no model here"}


def test_the_input_reaches_the_engine_as_asked(connect: Connect) -> None:
    engine = ScriptedEngine(["ok"])
    connect(FakeReplicate(engine)).run(
        MODEL,
        input={
            "prompt": "Hi",
            "system_prompt": "Be kind",
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "max_new_tokens": 7,
            "seed": 3,
            "stop_sequences": "<end>,<stop>",
        },
    )
    assert engine.requests == [
        GenerationRequest(
            prompt="Hi",
            system_prompt="Be kind",
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            seed=3,
            max_tokens=7,
            stop=("<end>", "<stop>"),
        )
    ]


class _Endless:
    """Talks until it is stopped, and tells when it was."""

    name, real, reason = "endless", False, ""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextChunk | Usage]:
        import anyio

        try:
            while True:
                yield TextChunk("on ")
                await anyio.sleep(0.005)
        finally:
            self._stopped.set()

    async def aclose(self) -> None:
        return None
