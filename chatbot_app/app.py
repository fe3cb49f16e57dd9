"""The Llama 2 chatbot: ``python -m chatbot_app``, or ``streamlit run chatbot_app/app.py``."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing
from itertools import chain

import httpx
import streamlit as st

import llm_observe
from chatbot_app import observed, thumbs
from chatbot_app.conversation import (
    LONGEST_QUESTION,
    MODELS,
    Backend,
    Connection,
    Conversation,
    LocalModel,
    Parameters,
    Turn,
    answer,
    choose_backend,
    explain,
    local_model,
    traces_url,
)

_AVATARS = {"user": ":material/person:", "assistant": ":material/smart_toy:"}
_HOLD_ON = "The answer was stopped."


@st.cache_resource
def observation() -> llm_observe.Handle:
    """Observe this process, once, however often Streamlit runs the script."""
    return observed.begin()


@st.cache_data(ttl=5, show_spinner=False)
def what_answers(base_url: str) -> LocalModel | None:
    """What the local Llama says that it is; asked anew after five seconds."""
    with httpx.Client(timeout=2.0, trust_env=False) as client:
        return local_model(base_url, client)


def conversation() -> Conversation:
    """The chat of this browser session."""
    chat: Conversation = st.session_state.setdefault("conversation", Conversation())
    return chat


def connection(backend: Backend) -> Connection:
    """This browser session's connection: a key is never shared with another session."""
    held: Connection | None = st.session_state.get("connection")
    if held is not None and held.backend == backend:
        return held
    if held is not None:
        held.close()
    fresh = Connection(backend)
    st.session_state["connection"] = fresh
    return fresh


def clear() -> None:
    """Begin anew: a new chat is a new session."""
    st.session_state["conversation"] = Conversation()


def sidebar() -> tuple[Backend, Parameters]:
    """Draw the sidebar; what the user chose."""
    with st.sidebar:
        st.title("Llama 2 Chatbot")
        backend = api_key()
        parameters = model_and_parameters()
        st.button("Clear Chat History", on_click=clear, width="stretch")
        observability()
    return backend, parameters


def api_key() -> Backend:
    """Say whether there is an API key; take one; say who answers without."""
    typed = ""
    if os.environ.get("REPLICATE_API_TOKEN"):
        st.success("API key already provided!", icon=":material/check_circle:")
    else:
        typed = st.text_input(
            "Replicate API key (optional)",
            type="password",
            help="Kept in this browser session only. Without a key the local Llama answers.",
        )
    backend = choose_backend(os.environ, typed)
    if backend.source == "typed":
        st.success("Your key is used, with Llama 2 at Replicate.", icon=":material/check_circle:")
    if backend.local:
        local(backend)
    return backend


def local(backend: Backend) -> None:
    """Say in plain sight what answers on this machine."""
    model = what_answers(backend.base_url)
    if model is None:
        st.warning(explain(httpx.ConnectError(""), backend).sentence, icon=":material/warning:")
    elif model.real:
        st.info(model.sentence(), icon=":material/computer:")
    else:
        st.warning(model.sentence(), icon=":material/description:")


def model_and_parameters() -> Parameters:
    """The choice of model and its parameters."""
    st.subheader("Models and parameters")
    chosen = st.selectbox("Choose a Llama2 model", list(MODELS), key="model")
    temperature = st.slider("temperature", 0.01, 1.0, 0.1, 0.01, key="temperature")
    top_p = st.slider("top_p", 0.01, 1.0, 0.9, 0.01, key="top_p")
    max_length = st.slider(
        "max_length", 32, 1024, 128, 8, key="max_length", help="Most tokens of an answer."
    )
    return Parameters(
        model=MODELS[chosen], temperature=temperature, top_p=top_p, max_length=max_length
    )


def observability() -> None:
    """Say what is recorded of this chat, where it goes, and where to see it."""
    status = observation().status()
    st.subheader("What is recorded")
    st.caption(observed.recorded(status))
    st.caption(observed.sent(status))
    if status.link.server:
        st.link_button(
            "Traces of this chat",
            traces_url(status.link.server, conversation().session),
            width="stretch",
        )


def who(backend: Backend, parameters: Parameters) -> str:
    """Who answers, in a sentence: on a phone the sidebar is out of sight."""
    if not backend.local:
        return f"{parameters.model} answers, at Replicate."
    model = what_answers(backend.base_url)
    return model.sentence() if model else "Nothing answers yet."


def show(turn: Turn) -> None:
    """One turn as it stands."""
    with st.chat_message(turn.role, avatar=_AVATARS[turn.role]):
        st.markdown(turn.text)
        if turn.note:
            st.caption(turn.note)
        thumbs_of(turn)


def thumbs_of(turn: Turn) -> None:
    """Two thumbs below an answer that was recorded."""
    if thumbs.can_be_judged(turn):
        key = f"thumb-{turn.reference}"
        st.feedback("thumbs", key=key, on_change=judged, args=(turn, key))


def judged(turn: Turn, key: str) -> None:
    """The user clicked a thumb; Streamlit calls this once, before it runs the page again."""
    recorded = thumbs.judge(conversation(), turn, st.session_state.get(key))
    if recorded is not None:
        st.toast("Thank you for the feedback." if recorded else "That could not be recorded.")


def reply(chat: Conversation, backend: Backend, parameters: Parameters) -> None:
    """Stream the answer to the last question; a failure becomes a sentence."""
    try:
        with (
            st.chat_message("assistant", avatar=_AVATARS["assistant"]),
            llm_observe.context(session=chat.session),
            llm_observe.trace("chat turn") as step,
            closing(kept(chat, backend, parameters, step)) as stream,
        ):
            with st.spinner("Waiting for the model …", show_time=True):
                first = next(stream, "")
            st.write_stream(chain([first], stream))
            thumbs_of(chat.turns[-1])
    except Exception as error:  # noqa: BLE001  # whatever it was, the user gets a sentence
        chat.trouble = explain(error, backend)


def kept(
    chat: Conversation, backend: Backend, parameters: Parameters, step: llm_observe.Step
) -> Generator[str]:
    """The answer's text; what came of it stays in the chat, also when it is broken off."""
    said: list[str] = []
    note = _HOLD_ON
    model_input = chat.model_input(parameters, backend.context_tokens)
    step.input = chat.turns[-1].text
    try:
        for text in answer(connection(backend).client, parameters.model, model_input):
            said.append(text)
            yield text
        note = ""
    finally:
        step.output = "".join(said)
        chat.answered("".join(said), note, step.reference)


def trouble(chat: Conversation) -> None:
    """Say what went wrong, and offer the way on."""
    if chat.trouble is None:
        return
    st.error(f"{chat.trouble.sentence}  \n{chat.trouble.way_on}", icon=":material/error:")
    st.button("Try again", on_click=chat.retry)


def main() -> None:
    """Draw the page."""
    st.set_page_config(
        page_title="Llama 2 Chatbot", page_icon=":material/forum:", layout="centered"
    )
    chat = conversation()
    backend, parameters = sidebar()
    if question := st.chat_input("Your message", max_chars=LONGEST_QUESTION):
        chat.ask(question)
    st.caption(f"{who(backend, parameters)} {observed.recorded(observation().status())}")
    for turn in chat.turns:
        show(turn)
    if chat.awaits_answer and chat.trouble is None:
        reply(chat, backend, parameters)
    trouble(chat)


main()
