"""What the rules of sampling know of a trace when it begins."""

import pytest
from openinference.instrumentation import using_session, using_user
from opentelemetry import baggage
from opentelemetry.context import Context, get_current

from llm_observe.policy.matching import Subject
from llm_observe.tracing.context import context
from llm_observe.tracing.subjects import session_alone, subject


def test_a_call_tells_its_provider_and_model_and_a_web_request_its_route() -> None:
    call = {"gen_ai.provider.name": "replicate", "gen_ai.request.model": "meta/x", "server.port": 1}
    found = subject("chat", Context(), call)
    assert (found.service, found.provider, found.model) == ("chat", "replicate", "meta/x")
    assert dict(found.attributes) == {**call, "server.port": "1"}
    assert subject("chat", Context(), {"http.route": "/chat/{id}"}).route == "/chat/{id}"


def test_others_say_it_with_other_words() -> None:
    theirs = {"llm.model_name": "m", "gen_ai.system": "p", "gen_ai.conversation.id": "s", "enduser.id": "u"}  # fmt: skip
    found = subject("", Context(), theirs)
    assert (found.model, found.provider, found.session, found.user) == ("m", "p", "s", "u")


def test_session_and_user_are_known_from_our_context_openinferences_and_baggage() -> None:
    with context(session="s-1", user="ann"):
        ours = subject("", get_current(), {})
    with using_session("s-1"), using_user("ann"):
        theirs = subject("", get_current(), {})
    carried = baggage.set_baggage("user.id", "ann", baggage.set_baggage("session.id", "s-1"))
    assert ours == theirs == subject("", carried, {}) == Subject(session="s-1", user="ann", attributes=ours.attributes)  # fmt: skip


def test_what_the_span_says_counts_before_what_is_around_it() -> None:
    carried = baggage.set_baggage("session.id", "of baggage", Context())
    assert subject("", carried, {"session.id": "own"}).session == "own"
    assert subject("", carried, {}).session == "of baggage"
    assert subject("", Context(), {}).session == ""


@pytest.mark.parametrize("key", ["session.id", "gen_ai.conversation.id", "other"])
def test_the_session_alone_is_what_the_whole_subject_says(key: str) -> None:
    carried = baggage.set_baggage("session.id", "of baggage", Context())
    for here in (carried, Context()):
        told = {key: "own"}
        assert session_alone("", here, told).session == subject("", here, told).session
