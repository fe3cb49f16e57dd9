"""What the rules of sampling know of a trace when it begins."""

import pytest
from openinference.instrumentation import using_session, using_user
from opentelemetry import baggage
from opentelemetry.context import Context, get_current

from llm_observe.policy.matching import Subject
from llm_observe.tracing.around.context import context
from llm_observe.tracing.call import Call
from llm_observe.tracing.sampling.subjects import (
    session_alone,
    subject_of_attributes,
    subject_of_call,
    subject_of_root,
)


def test_a_call_and_a_span_of_others_tell_who_they_are() -> None:
    call = Call(provider="replicate", request_model="m", session="s", user="u")
    call.attributes["llm.prompt_template.version"] = "3"
    assert subject_of_call(call, "chat", {"tenant": "blue", "list": [1]}) == Subject(
        service="chat",
        provider="replicate",
        model="m",
        session="s",
        user="u",
        attributes={"tenant": "blue", "llm.prompt_template.version": "3"},
    )
    told = {"gen_ai.system": "ollama", "llm.model_name": "m", "session.id": "s", "enduser.id": "u"}
    found = subject_of_attributes(told)
    assert (found.provider, found.model, found.session, found.user) == ("ollama", "m", "s", "u")


def test_a_call_tells_its_provider_and_model_and_a_web_request_its_route() -> None:
    call = {"gen_ai.provider.name": "replicate", "gen_ai.request.model": "meta/x", "server.port": 1}
    found = subject_of_root("chat", Context(), call)
    assert (found.service, found.provider, found.model) == ("chat", "replicate", "meta/x")
    assert dict(found.attributes) == {**call, "server.port": "1"}
    assert subject_of_root("chat", Context(), {"http.route": "/chat/{id}"}).route == "/chat/{id}"


def test_others_say_it_with_other_words() -> None:
    theirs = {"llm.model_name": "m", "gen_ai.system": "p", "gen_ai.conversation.id": "s", "enduser.id": "u"}  # fmt: skip
    found = subject_of_root("", Context(), theirs)
    assert (found.model, found.provider, found.session, found.user) == ("m", "p", "s", "u")


def test_a_model_or_session_is_matched_by_what_pages_show() -> None:
    theirs = {"gen_ai.response.model": "m", "langfuse.session.id": "s", "langfuse.user.id": "u"}
    found = subject_of_attributes(theirs)
    assert (found.model, found.session, found.user) == ("m", "s", "u")
    assert session_alone("", Context(), theirs).session == "s"


def test_session_and_user_are_known_from_our_context_openinferences_and_baggage() -> None:
    with context(session="s-1", user="ann"):
        ours = subject_of_root("", get_current(), {})
    with using_session("s-1"), using_user("ann"):
        theirs = subject_of_root("", get_current(), {})
    carried = baggage.set_baggage("user.id", "ann", baggage.set_baggage("session.id", "s-1"))
    assert ours == theirs == subject_of_root("", carried, {}) == Subject(session="s-1", user="ann", attributes=ours.attributes)  # fmt: skip


def test_what_the_span_says_counts_before_what_is_around_it() -> None:
    carried = baggage.set_baggage("session.id", "of baggage", Context())
    assert subject_of_root("", carried, {"session.id": "own"}).session == "own"
    assert subject_of_root("", carried, {}).session == "of baggage"
    assert subject_of_root("", Context(), {}).session == ""


@pytest.mark.parametrize("key", ["session.id", "gen_ai.conversation.id", "other"])
def test_the_session_alone_is_what_the_whole_subject_says(key: str) -> None:
    carried = baggage.set_baggage("session.id", "of baggage", Context())
    for here in (carried, Context()):
        told = {key: "own"}
        assert session_alone("", here, told).session == subject_of_root("", here, told).session
