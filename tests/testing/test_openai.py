"""The fake OpenAI, by the real client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from llm_observe.testing import EngineError, FakeOpenAI, Fault, GenerationRequest, ScriptedEngine
from tests.testing.conftest import Switchboard

ASK: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where do llamas live?"},
]
Connect = Callable[..., openai.OpenAI]
WORDS = "Llamas live in Peru."


@pytest.fixture
def connect_openai(switchboard: Switchboard) -> Iterator[Connect]:
    clients: list[openai.OpenAI] = []

    def make(fake: FakeOpenAI, key: str = "any") -> openai.OpenAI:
        switchboard.app = fake
        client = openai.OpenAI(api_key=key, base_url=f"{switchboard.url}/v1", max_retries=0)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def ask(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(model="llama", messages=ASK, **options)


def test_a_whole_answer_has_its_usage(connect_openai: Connect) -> None:
    engine = ScriptedEngine([WORDS])
    answer = ask(connect_openai(FakeOpenAI(engine)), temperature=0.5, max_tokens=3, stop=["!"])
    assert answer.choices[0].message.content == "Llamas live in"
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 3)
    assert engine.requests == [
        GenerationRequest(
            prompt="Where do llamas live?",
            system_prompt="Be brief.",
            temperature=0.5,
            max_tokens=3,
            stop=("!",),
        )
    ]


@pytest.mark.parametrize("told", [True, False])
def test_a_stream_has_usage_if_it_is_asked_for(connect_openai: Connect, told: bool) -> None:
    client = connect_openai(FakeOpenAI(ScriptedEngine([WORDS])))
    options = {"stream_options": {"include_usage": True}} if told else {}
    chunks = list(ask(client, stream=True, **options))
    said = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(said) == WORDS
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert [c.usage.total_tokens for c in chunks if c.usage] == ([10] if told else [])


def test_turns_and_parts_are_read(connect_openai: Connect) -> None:
    engine = ScriptedEngine([WORDS])
    client = connect_openai(FakeOpenAI(engine))
    parts = [{"type": "text", "text": "And "}, {"type": "text", "text": "alpacas?"}]
    turns: list[Any] = [*ASK, {"role": "assistant", "content": "Peru."}]
    turns.append({"role": "user", "content": parts})
    client.chat.completions.create(model="m", messages=turns, stop=".")
    asked = engine.requests[0]
    assert asked.prompt == "User: Where do llamas live?\nAssistant: Peru.\nUser: And alpacas?"
    assert asked.stop == (".",)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault(status=429, detail="slow down", retry_after_s=2), openai.RateLimitError, "slow"),
        (Fault(status=400, detail="no such thing"), openai.BadRequestError, "no such thing"),
        (Fault(fail_after=1, error="out of memory"), openai.InternalServerError, "out of memory"),
        (Fault(no_answer=True), openai.APIConnectionError, "Connection error"),
    ],
)
def test_a_script_makes_requests_fail(
    connect_openai: Connect, fault: Fault, error: type[Exception], message: str
) -> None:
    fake = FakeOpenAI(ScriptedEngine([WORDS]))
    fake.script(fault)
    client = connect_openai(fake)
    with pytest.raises(error, match=message):
        ask(client)
    assert ask(client).choices[0].message.content == WORDS


def test_a_stream_fails_in_its_midst(connect_openai: Connect) -> None:
    fake = FakeOpenAI(ScriptedEngine([WORDS]))
    fake.script(Fault(fail_after=2, error="out of memory"))
    stream = ask(connect_openai(fake), stream=True)
    with pytest.raises(openai.APIError, match="out of memory"):
        list(stream)


def test_a_stream_is_cut(connect_openai: Connect) -> None:
    fake = FakeOpenAI(ScriptedEngine([WORDS]))
    fake.script(Fault(break_stream_after=2))
    said: list[str] = []
    with pytest.raises(openai.APIConnectionError):  # noqa: PT012  # read until then
        for chunk in ask(connect_openai(fake), stream=True):
            said.append(chunk.choices[0].delta.content or "")
    assert "".join(said) == "Llamas live"


def test_keys_and_models_are_checked(connect_openai: Connect) -> None:
    fake = FakeOpenAI(ScriptedEngine(), token="right", models=["llama"])
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
        ask(connect_openai(fake, "wrong"))
    client = connect_openai(fake, "right")
    assert [model.id for model in client.models.list()] == ["llama"]
    with pytest.raises(openai.NotFoundError, match="`other` does not exist"):
        client.chat.completions.create(model="other", messages=ASK)
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        client.embeddings.create(model="llama", input="x")
    with pytest.raises(openai.BadRequestError, match="list of messages"):
        client.chat.completions.create(model="llama", messages=[])


def test_an_engine_that_cannot_answer_is_an_error_of_the_server(connect_openai: Connect) -> None:
    def refuse(asked: GenerationRequest) -> str:
        raise EngineError(f"no answer to {asked.prompt}")

    client = connect_openai(FakeOpenAI(ScriptedEngine(refuse)))
    with pytest.raises(openai.InternalServerError, match="no answer to Where"):
        ask(client)
