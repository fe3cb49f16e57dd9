"""The fake Replicate: what a second look at the API and the 2.x client asks for."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
from replicate.exceptions import ReplicateError

from llm_observe.testing import FakeReplicate, Fault, ScriptedEngine, ServerLimits
from llm_observe.testing.catalogue import LLAMA_MODELS
from tests.testing.conftest import Connect, Switchboard

MODEL = "meta/llama-2-7b-chat"
ASK = {"prompt": "Hi you"}


def fake(**options: Any) -> FakeReplicate:
    return FakeReplicate(ScriptedEngine(["Hello there, friend."]), **options)


def post(board: Switchboard, given: dict[str, Any], **headers: str) -> httpx.Response:
    url = f"{board.url}/v1/models/{MODEL}/predictions"
    return httpx.post(url, json={"input": given}, headers=headers, timeout=30)


def test_a_chat_of_messages_needs_no_prompt(connect: Connect) -> None:
    server = fake()
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "And you?"},
    ]
    connect(server).run(MODEL, input={"messages": turns})
    (asked,) = server.engine.requests  # type: ignore[attr-defined]  # it is the scripted one
    assert asked.system_prompt == "Be kind."
    assert asked.prompt == "User: Hi\nAssistant: Hello.\nUser: And you?"


@pytest.mark.parametrize("turns", [[], "Hi", ["Hi"], [{"role": "user"}]])
def test_what_is_no_chat_is_no_prompt_either(connect: Connect, turns: Any) -> None:
    with pytest.raises(ReplicateError, match="prompt is required"):
        connect(fake()).run(MODEL, input={"messages": turns})


def test_the_longest_input_can_be_set(connect: Connect) -> None:
    limits = ServerLimits(input_characters=1_000_000, body_bytes=2_000_000)
    asked = {"prompt": "long " * 150_000}
    assert connect(fake(limits=limits)).run(MODEL, input=asked)
    with pytest.raises(ReplicateError, match="too long"):
        connect(fake(limits=ServerLimits(input_characters=10))).run(MODEL, input=asked)


def test_what_the_model_prints_is_in_logs_and_in_the_stream(connect: Connect) -> None:
    server = fake()
    server.script(Fault(logs="seed 7\n"), Fault(logs="seed 7\n"))
    client = connect(server)
    events = list(client.stream(MODEL, input=ASK))
    assert [event.event.value for event in events][:2] == ["logs", "output"]
    assert events[0].data == "seed 7\n"
    prediction = client.models.predictions.create(MODEL, input=ASK)
    prediction.wait()
    assert prediction.logs == "seed 7\n"


def test_a_stream_may_fall_silent_for_good(connect: Connect) -> None:
    server = fake()
    server.script(Fault(hang_stream_after=2))
    client = connect(server, timeout=httpx.Timeout(0.3))
    got: list[str] = []
    stream = map(str, client.stream(MODEL, input=ASK))
    with pytest.raises(httpx.ReadTimeout):
        got.extend(stream)
    assert got == ["Hello", " there,"]
    assert "".join(map(str, client.stream(MODEL, input=ASK))) == "Hello there, friend."


def test_a_stream_may_be_refused(connect: Connect) -> None:
    server = fake()
    server.script(Fault(stream_status=500))
    with pytest.raises(ValueError, match="text/event-stream"):
        list(connect(server).stream(MODEL, input=ASK))


def test_reading_a_prediction_may_be_refused(connect: Connect) -> None:
    server = fake()
    server.script(Fault(get_status=500, detail="the database is away"))
    prediction = connect(server).models.predictions.create(MODEL, input=ASK)
    with pytest.raises(ReplicateError, match="the database is away"):
        prediction.reload()


def test_an_official_model_hides_its_version(connect: Connect, switchboard: Switchboard) -> None:
    client = connect(fake(official=[MODEL]))
    assert client.models.predictions.create(MODEL, input=ASK).version == "hidden"
    model = client.models.get(MODEL)
    assert model.latest_version is not None
    with pytest.raises(ReplicateError):
        model.versions.list()


def test_a_deployment_is_named_on_its_predictions(
    connect: Connect, switchboard: Switchboard
) -> None:
    connect(fake(deployments={"acme/chat": MODEL}))
    url = f"{switchboard.url}/v1/deployments/acme/chat/predictions"
    assert httpx.post(url, json={"input": ASK}).json()["deployment"] == "acme/chat"
    listed = httpx.get(f"{switchboard.url}/v1/deployments").json()["results"]
    assert [each["name"] for each in listed] == ["chat"]


def test_models_are_listed(connect: Connect) -> None:
    names = [f"{each.owner}/{each.name}" for each in connect(fake()).models.list().results]
    assert names == list(LLAMA_MODELS)


def test_predictions_are_listed_page_by_page(connect: Connect) -> None:
    client = connect(fake(limits=ServerLimits(running=500)))
    made = [client.models.predictions.create(MODEL, input=ASK).id for _ in range(205)][::-1]
    first = client.predictions.list()
    assert first.next is not None
    second = client.predictions.list(first.next)
    assert second.next is not None
    third = client.predictions.list(second.next)
    assert third.next is None
    pages = [first, second, third]
    assert [each.id for page in pages for each in page.results] == made
    with pytest.raises(ReplicateError):
        client.predictions.list("/v1/predictions?cursor=unknown")


def test_a_prediction_is_cancelled_after_the_time_it_was_given(
    connect: Connect, switchboard: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_observe.testing.requests.LEAST_CANCEL_AFTER_S", 1)
    server = fake()
    connect(server)
    server.script(Fault(queue_s=60))
    answer = post(switchboard, ASK, **{"Cancel-After": "1", "Prefer": "wait"}).json()
    assert (answer["status"], answer["metrics"].get("predict_time")) == ("canceled", 0)
    assert answer["deadline"] > answer["created_at"]


@pytest.mark.parametrize("given", ["", "soon", "4", "-10s", "4s1m"])
def test_a_time_to_cancel_that_is_none_is_refused(
    connect: Connect, switchboard: Switchboard, given: str
) -> None:
    connect(fake())
    assert post(switchboard, ASK, **{"Cancel-After": given}).status_code == 422


@pytest.mark.parametrize(("given", "seconds"), [("90", 90), ("1m30s", 90), ("1h", 3600)])
def test_a_time_to_cancel_is_read_as_a_duration(
    connect: Connect, switchboard: Switchboard, given: str, seconds: float
) -> None:
    server = fake()
    connect(server)
    post(switchboard, ASK, **{"Cancel-After": given, "Prefer": "wait"})
    (made,) = server.predictions
    assert made.cancel_after_s == seconds


def test_many_clients_at_once_get_their_own_answers(connect: Connect) -> None:
    client = connect(fake(limits=ServerLimits(running=500)))
    client.models.get(
        MODEL
    )  # the client makes its connections at the first request, without a lock
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.run(MODEL, input=ASK)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [["Hello", " there,", " friend."]] * 16


def test_a_model_may_fall_silent_in_the_middle(connect: Connect) -> None:
    server = fake()
    server.script(Fault(hang_after=2))
    client = connect(server)
    prediction = client.models.predictions.create(MODEL, input=ASK)
    while len(prediction.output or []) < 2:
        prediction.reload()
    assert (prediction.status, prediction.output) == ("processing", ["Hello", " there,"])
    prediction.cancel()
    assert prediction.status == "canceled"


def test_a_script_can_be_forgotten(connect: Connect) -> None:
    server = fake()
    server.script(Fault(status=500))
    server.clear_script()
    assert connect(server).run(MODEL, input=ASK)
