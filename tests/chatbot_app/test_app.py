from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from opentelemetry.sdk.trace import ReadableSpan
from streamlit.testing.v1 import AppTest

import chatbot_app
import llm_observe
from chatbot_app import observed, thumbs
from chatbot_app.conversation import Turn
from llm_observe.agent.status import DestinationState, Link, Status
from llm_observe.testing import (
    FakeReplicate,
    Fault,
    ScriptedEngine,
    capture_spans,
    serve_in_thread,
)
from llm_observe.testing.spans import CapturedSpans

PAGE = Path(chatbot_app.__file__).with_name("app.py")
DEADLINE_S = 120


@pytest.fixture
def fake() -> FakeReplicate:
    return FakeReplicate(ScriptedEngine(["It is **wet**.", "Still wet."], reason="for a test"))


@pytest.fixture
def page(fake: FakeReplicate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The page, with the fake in the local Llama's place and no API key."""
    for name in ("REPLICATE_API_TOKEN", "LLM_OBSERVE_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LLM_OBSERVE_STATE_DIR", str(tmp_path))
    with serve_in_thread(fake) as server:
        monkeypatch.setenv("REPLICATE_BASE_URL", server.url)
        page = AppTest.from_file(str(PAGE), default_timeout=DEADLINE_S)
        yield page
        llm_observe.flush()  # numbers of the last answer are fetched through its connection
        if "connection" in page.session_state:
            page.session_state["connection"].close()
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture(scope="module", autouse=True)
def observation_ends() -> Iterator[None]:
    yield
    llm_observe.shutdown()


def said(page: AppTest) -> list[tuple[str, str]]:
    return [(each.name, each.markdown[0].value) for each in page.chat_message if each.markdown]


def words(page: AppTest) -> str:
    """Everything the sidebar says."""
    kinds = (page.sidebar.info, page.sidebar.warning, page.sidebar.success, page.sidebar.caption)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def test_it_greets_and_offers_what_llama_2_chatbots_offer(page: AppTest) -> None:
    page.run()
    assert not page.exception
    assert said(page) == [("assistant", "How may I assist you today?")]
    assert page.selectbox(key="model").options == ["Llama2-7B", "Llama2-13B", "Llama2-70B"]
    ranges = {each.label: (each.min, each.max) for each in page.slider}
    assert ranges == {
        "temperature": (0.01, 1.0),
        "top_p": (0.01, 1.0),
        "max_length": (32, 1024),
    }
    assert [each.value for each in page.subheader] == ["Models and parameters", "What is recorded"]


def test_without_a_key_it_says_what_answers(page: AppTest) -> None:
    page.run()
    assert "scripted text" in words(page)
    assert "scripted text" in page.main.caption[0].value
    assert "API key already provided!" not in words(page)
    field = page.text_input[0].proto
    assert field.type == field.PASSWORD


def test_with_a_key_it_says_so_and_asks_for_none(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_anything")
    page.run()
    assert "API key already provided!" in words(page)
    assert not page.text_input
    assert "r8_anything" not in str(page)


def test_a_typed_key_is_taken_for_replicate_itself(page: AppTest) -> None:
    page.run()
    page.text_input[0].set_value("r8_typed").run()
    assert "Your key is used" in words(page)
    assert "scripted text" not in words(page)
    assert page.main.caption[0].value.startswith("meta/llama-2-7b-chat answers, at Replicate.")


def test_a_question_is_answered_and_the_chat_goes_on(page: AppTest, fake: FakeReplicate) -> None:
    page.run()
    page.chat_input[0].set_value("What is water?").run()
    page.chat_input[0].set_value("And now?").run()
    assert not page.exception
    assert said(page) == [
        ("assistant", "How may I assist you today?"),
        ("user", "What is water?"),
        ("assistant", "It is **wet**."),
        ("user", "And now?"),
        ("assistant", "Still wet."),
    ]
    second, first = fake.predictions
    assert first.input["prompt"] == "What is water?"
    assert "Assistant: It is **wet**.\n\nUser: And now?" in second.input["prompt"]


def test_model_and_sliders_reach_the_model(page: AppTest, fake: FakeReplicate) -> None:
    page.run()
    page.selectbox(key="model").set_value("Llama2-70B")
    page.slider(key="temperature").set_value(0.22)
    page.slider(key="top_p").set_value(0.5)
    page.slider(key="max_length").set_value(32)
    page.chat_input[0].set_value("Hi").run()
    (prediction,) = fake.predictions
    assert prediction.model == "meta/llama-2-70b-chat"
    asked = prediction.input
    assert (asked["temperature"], asked["top_p"], asked["max_new_tokens"]) == (0.22, 0.5, 32)


def test_clearing_begins_a_new_chat_and_session(page: AppTest) -> None:
    page.run()
    page.chat_input[0].set_value("Hi").run()
    before = page.session_state["conversation"].session
    (clear,) = (each for each in page.button if each.label == "Clear Chat History")
    clear.click().run()
    assert said(page) == [("assistant", "How may I assist you today?")]
    assert page.session_state["conversation"].session != before


def test_a_failure_is_a_sentence_and_the_chat_survives_and_can_go_on(
    page: AppTest, fake: FakeReplicate
) -> None:
    page.run()
    fake.script(Fault(status=429, retry_after_s=1))
    page.chat_input[0].set_value("Hi").run()
    assert not page.exception
    assert "rate limit" in page.error[0].value
    assert said(page)[-1] == ("user", "Hi")
    (again,) = (each for each in page.button if each.label == "Try again")
    again.click().run()
    assert not page.error
    assert said(page)[-2:] == [("user", "Hi"), ("assistant", "It is **wet**.")]


def test_an_answer_that_breaks_is_kept_as_far_as_it_came(
    page: AppTest, fake: FakeReplicate
) -> None:
    page.run()
    fake.script(Fault(fail_after=2, error="out of memory"))
    page.chat_input[0].set_value("Hi").run()
    assert "out of memory" in page.error[0].value
    page.run()
    assert said(page)[-1] == ("assistant", "It is")


def test_a_local_llama_that_is_down_is_said_with_the_way_to_start_it(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_BASE_URL", "http://127.0.0.1:9")
    page.run()
    assert "does not answer" in words(page)
    page.chat_input[0].set_value("Hi").run()
    assert not page.exception
    assert "python -m chatbot_app.local_llama" in page.error[0].value


def test_each_turn_is_a_trace_of_its_session(page: AppTest) -> None:
    page.run()
    with capture_spans() as captured:
        page.chat_input[0].set_value("What is water?").run()
        turn, call = captured.spans
    assert turn.name == "chat turn"
    assert call.parent is not None
    assert turn.context is not None
    assert call.parent.span_id == turn.context.span_id
    attributes = call.attributes or {}
    assert attributes["session.id"] == page.session_state["conversation"].session
    assert attributes["llm.token_count.completion"] == 3
    assert attributes["gen_ai.request.model"] == "meta/llama-2-7b-chat"


# -- thumbs ----------------------------------------------------------------------------------


def scores(captured: CapturedSpans) -> list[ReadableSpan]:
    return [span for span in captured.spans if span.name == "score"]


def value(span: ReadableSpan) -> object:
    return (span.attributes or {}).get("annotations.0.annotation.score")


def test_a_thumb_is_a_score_on_the_turn_of_its_answer_and_said_once(page: AppTest) -> None:
    page.run()
    assert not page.feedback  # there is nothing to judge in the greeting
    with capture_spans() as captured:
        page.chat_input[0].set_value("What is water?").run()
        page.chat_input[0].set_value("And now?").run()
        turns = [span for span in captured.spans if span.name == "chat turn"]
        assert len(page.feedback) == 2
        page.feedback[0].set_value(0).run()
        assert page.toast[0].value.startswith("Thank you")
        page.run()
        page.run()
        (score,) = scores(captured)
        assert value(score) == 0.0
        assert (score.attributes or {})["session.id"] == page.session_state["conversation"].session
        (link,) = score.links
        assert turns[0].context is not None
        assert link.context.span_id == turns[0].context.span_id
    assert not page.exception


def test_another_thumb_is_another_score_and_it_can_be_taken_back(page: AppTest) -> None:
    page.run()
    with capture_spans() as captured:
        page.chat_input[0].set_value("What is water?").run()
        for thumb in (1, 0, None):
            page.feedback[0].set_value(thumb).run()
        said = scores(captured)
    assert [value(score) for score in said] == [1.0, 0.0, None]
    label = "annotations.0.annotation.label"
    assert (said[-1].attributes or {})[label] == "withdrawn"
    assert len({score.links[0].context.span_id for score in said}) == 1


def test_thumbs_survive_the_next_question(page: AppTest) -> None:
    page.run()
    with capture_spans() as captured:
        page.chat_input[0].set_value("What is water?").run()
        page.feedback[0].set_value(1).run()
        page.chat_input[0].set_value("And now?").run()
        assert [each.value for each in page.feedback] == [1, None]
        assert len(scores(captured)) == 1


def test_a_turn_that_is_not_recorded_has_no_thumbs() -> None:
    sampled = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    for reference, shown in ((sampled, True), (sampled[:-1] + "0", False), ("", False)):
        assert thumbs.can_be_judged(Turn("assistant", "x", reference=reference)) == shown


def test_it_says_what_is_recorded_and_that_nothing_is_connected(page: AppTest) -> None:
    page.run()
    assert "recorded as they are" in words(page)
    assert "No control plane is configured" in words(page)


def test_with_a_server_it_links_to_the_traces_of_this_chat(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = status(link=Link(server="http://127.0.0.1:4320", connected=True))
    monkeypatch.setattr(llm_observe.Handle, "status", lambda _handle: given)
    page.run()
    (link,) = page.sidebar.get("link_button")
    session = page.session_state["conversation"].session
    assert f"http://127.0.0.1:4320/traces?session={session}" in str(link.proto)
    assert "Connected to the control plane" in words(page)


def capturing(**capture: object) -> Status:
    return status(settings={"capture": capture, "sampling": {"ratio": 1.0}})


def status(level: str = "full", ratio: float = 1.0, **changes: object) -> Status:
    plain = Status(
        service_name="llama2-chatbot",
        instance_id="i",
        link=Link(),
        settings={"capture": {"level": level}, "sampling": {"ratio": ratio}},
        instrumentors={},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (status("off"), "**not** recorded, only model"),
        (status("metadata"), "**not** recorded, only parameters"),
        (status("redacted"), "personal data taken out"),
        (status("full", 0.25), "25% of the chats"),
        (status("full", disabled=True), "Nothing is recorded"),
        (capturing(level="metadata", output="full"), "Some prompts and answers are **recorded"),
        (capturing(level="off", rules={"a": {"level": "redacted"}}), "Some prompts and answers"),
        (capturing(level="off", grants={"g": {"level": "full"}}), "Some prompts and answers"),
        (capturing(level="off", system="metadata", max_chars=0), "**not** recorded, only param"),
        (capturing(level="full", output="off"), "Prompts and answers are **recorded as they are**"),
    ],
)
def test_what_is_recorded_follows_the_settings_in_force(given: Status, sentence: str) -> None:
    assert sentence in observed.recorded(given)


@pytest.mark.parametrize(
    ("link", "sentence"),
    [
        (Link(), "No control plane is configured"),
        (Link(server="http://x", connected=True), "Connected to the control plane"),
        (
            Link(server="http://x", last_error="refused"),
            "**Not connected** to the control plane (refused)",
        ),
    ],
)
def test_the_connection_is_shown_as_it_is(link: Link, sentence: str) -> None:
    assert observed.sent(status(link=link)).startswith(sentence)
    assert "nowhere" in observed.sent(status(link=link))
    reached = {"control-plane": DestinationState(endpoint="http://x")}
    assert "control-plane" in observed.sent(status(link=link, destinations=reached))
