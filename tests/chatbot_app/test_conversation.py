from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replicate.client import Client
from replicate.stream import ServerSentEvent

from chatbot_app.conversation import (
    GREETING,
    LOCAL_URL,
    REPLICATE_URL,
    Backend,
    Conversation,
    Interrupted,
    LocalModel,
    Parameters,
    Trouble,
    Turn,
    answer,
    choose_backend,
    dialogue,
    explain,
    local_model,
    traces_url,
)
from llm_observe.testing import FakeReplicate, Fault, ScriptedEngine, serve_in_thread

MODEL = "meta/llama-2-7b-chat"
REMOTE = Backend(REPLICATE_URL, "r8_secret", "typed")
LOCAL = Backend(LOCAL_URL, None, "none")


def test_a_key_in_the_environment_wins_and_keeps_its_address() -> None:
    environment = {"REPLICATE_API_TOKEN": "r8_a", "REPLICATE_BASE_URL": "https://proxy.example/"}
    assert choose_backend(environment, "r8_b") == Backend(
        "https://proxy.example", "r8_a", "environment"
    )
    assert choose_backend({"REPLICATE_API_TOKEN": "r8_a"}).base_url == REPLICATE_URL


def test_a_typed_key_goes_to_replicate_and_nowhere_else() -> None:
    backend = choose_backend({"REPLICATE_BASE_URL": "http://127.0.0.1:5320"}, " r8_b ")
    assert (backend.base_url, backend.token, backend.local) == (REPLICATE_URL, "r8_b", False)


def test_without_a_key_the_local_llama_is_asked() -> None:
    assert choose_backend({}) == LOCAL
    other = choose_backend(
        {"REPLICATE_BASE_URL": "http://127.0.0.1:9999", "REPLICATE_API_TOKEN": " "}
    )
    assert (other.base_url, other.token, other.local) == ("http://127.0.0.1:9999", None, True)


def test_a_chat_begins_with_the_greeting_which_the_model_never_sees() -> None:
    chat = Conversation()
    assert chat.turns == [Turn("assistant", GREETING)]
    chat.ask("  What is water?  ")
    assert chat.model_input(Parameters(), 2048)["prompt"] == "What is water?"


def test_the_sliders_reach_the_model() -> None:
    chat = Conversation()
    chat.ask("Hi")
    given_input = chat.model_input(
        Parameters(temperature=0.22, top_p=0.8, max_length=120), context_tokens=2048
    )
    assert (given_input["temperature"], given_input["top_p"]) == (0.22, 0.8)
    assert given_input["max_new_tokens"] == 120
    assert given_input["system_prompt"]


def test_history_is_written_as_turns() -> None:
    turns = [Turn("user", "Hi"), Turn("assistant", "Hello!"), Turn("user", "Who are you?")]
    assert dialogue(turns, 1000) == (
        "User: Hi\n\nAssistant: Hello!\n\nUser: Who are you?\n\nAssistant:"
    )


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=80)), max_size=12),
    st.text(max_size=200),
    st.integers(0, 400),
)
def test_a_history_is_bounded_and_the_newest_question_always_there(
    said: list[tuple[Any, str]], question: str, most: int
) -> None:
    turns = [Turn(role, text) for role, text in said]
    text = dialogue([*turns, Turn("user", question)], most)
    assert question in text
    assert len(text) <= max(most, len(question)) + 60 + 2 * len(said)
    assert not text.startswith("Assistant:") or question.startswith("Assistant:")


def test_a_question_that_was_never_answered_is_replaced() -> None:
    chat = Conversation()
    chat.ask("one")
    chat.trouble = Trouble("x", "y")
    chat.ask("two")
    assert [turn.text for turn in chat.turns] == [GREETING, "two"]
    assert chat.trouble is None


def test_an_answer_broken_off_is_kept_with_a_note_and_asked_again_on_retry() -> None:
    chat = Conversation()
    chat.ask("one")
    chat.answered("half an", "The answer was stopped.")
    assert chat.turns[-1].note
    chat.retry()
    assert chat.turns[-1] == Turn("user", "one")
    chat.answered("  ")
    assert chat.awaits_answer


def test_each_chat_is_a_session_of_its_own() -> None:
    assert Conversation().session != Conversation().session


def ask(fake: FakeReplicate, model: str = MODEL) -> tuple[list[str], Trouble | None]:
    with serve_in_thread(fake) as server:
        client = Client("r8_secret", base_url=server.url)
        got: list[str] = []
        try:
            got.extend(answer(client, model, {"prompt": "Hi"}))
        except Exception as error:  # noqa: BLE001  # the page catches all, too
            return got, explain(error, Backend(REPLICATE_URL, "r8_secret", "typed"))
        finally:
            client._client.close()
        return got, None


def test_an_answer_streams_word_by_word() -> None:
    assert ask(FakeReplicate(ScriptedEngine(["one two"]))) == (["one", " two"], None)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault(status=401), "The API key was not accepted"),
        (Fault(status=402), "no credit"),
        (Fault(status=403), "does not allow this model"),
        (Fault(status=422, detail="- input.top_p: wrong"), "input.top_p: wrong"),
        (Fault(status=429, retry_after_s=1), "rate limit"),
        (Fault(status=503), "server is down (HTTP 503)"),
        (Fault(status=418), "refused (HTTP 418)"),
        (Fault(fail_after=1, error="out of memory"), "The model failed: out of memory"),
        (Fault(cancel_after=1), "cancelled"),
        (Fault(break_stream_after=1), "broke in the middle"),
        (Fault(no_answer=True), "broke in the middle"),
    ],
)
def test_each_failure_is_a_sentence_with_a_way_on(fault: Fault, sentence: str) -> None:
    fake = FakeReplicate(ScriptedEngine(["one two three"]))
    fake.script(fault)
    _, trouble = ask(fake)
    assert trouble is not None
    assert sentence in trouble.sentence
    assert trouble.way_on
    assert "r8_secret" not in repr(trouble)
    assert "Traceback" not in repr(trouble)


def test_an_unknown_model_is_a_sentence() -> None:
    _, trouble = ask(FakeReplicate(ScriptedEngine(), models={}))
    assert trouble is not None
    assert "model does not exist" in trouble.sentence


def test_an_empty_answer_is_said() -> None:
    _, trouble = ask(FakeReplicate(ScriptedEngine([" "])))
    assert trouble is not None
    assert "empty answer" in trouble.sentence


@pytest.mark.parametrize(
    ("error", "backend", "sentence"),
    [
        (httpx.ConnectError("x"), REMOTE, "Replicate cannot be reached"),
        (httpx.ConnectError("x"), LOCAL, f"does not answer at {LOCAL_URL}"),
        (httpx.ReadTimeout("x"), REMOTE, "in time"),
        (RuntimeError(""), REMOTE, "it gave no reason"),
        (RuntimeError("[1]"), REMOTE, "[1]"),
        (KeyError("r8_secret"), REMOTE, "unexpected happened (KeyError)"),
    ],
)
def test_trouble_on_this_side_is_a_sentence_too(
    error: Exception, backend: Backend, sentence: str
) -> None:
    trouble = explain(error, backend)
    assert sentence in trouble.sentence
    assert "r8_secret" not in repr(trouble)


class _Ends:
    def __init__(self, data: str) -> None:
        self._data = data

    def stream(self, ref: str, *, input: dict[str, Any]) -> Iterator[ServerSentEvent]:
        kinds = ServerSentEvent.EventType
        yield ServerSentEvent(event=kinds.OUTPUT, data="hm", id="1", retry=None)
        yield ServerSentEvent(event=kinds.DONE, data=self._data, id="2", retry=None)


@pytest.mark.parametrize("data", ["", "{}", "[]", "no json", json.dumps({"reason": "stop"})])
def test_an_ordinary_end_is_an_end(data: str) -> None:
    assert list(answer(_Ends(data), MODEL, {})) == ["hm"]


def test_an_end_by_error_is_no_ordinary_end() -> None:
    with pytest.raises(Interrupted, match="failed in the middle"):
        list(answer(_Ends('{"reason": "error"}'), MODEL, {}))


def test_the_local_llama_is_asked_what_it_is() -> None:
    with (
        serve_in_thread(FakeReplicate(ScriptedEngine(reason="no wheel"))) as server,
        httpx.Client() as client,
    ):
        model = local_model(server.url, client)
        assert local_model(f"{server.url}/elsewhere", client) is None
        assert local_model("http://127.0.0.1:9", client) is None
    assert model == LocalModel("scripted", False, "no wheel")
    assert "scripted text" in model.sentence()
    assert "no wheel" in model.sentence()


def test_a_small_model_is_said_to_be_small() -> None:
    assert "135M" in LocalModel("SmolLM2-135M-Instruct", True).sentence()
    assert "135M" not in LocalModel("Llama-3", True).sentence()


def test_the_link_leads_to_this_sessions_traces() -> None:
    assert traces_url("http://127.0.0.1:4320/", "a b") == (
        "http://127.0.0.1:4320/traces?session=a+b&range=all"
    )
