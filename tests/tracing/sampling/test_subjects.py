"""What the rules of sampling know of a trace when it begins."""

from openinference.instrumentation import using_session, using_user
from opentelemetry import baggage
from opentelemetry.context import Context, get_current

from llm_observe.policy.globs import LONGEST
from llm_observe.policy.matching import Subject
from llm_observe.tracing.around.context import context
from llm_observe.tracing.call import Call
from llm_observe.tracing.sampling.subjects import (
    reader,
    subject_of_attributes,
    subject_of_call,
)

FIELDS = ("service", "provider", "model", "session", "user", "route")


def root(here: Context, told: dict[str, object], *keys: str) -> dict[str, str | None]:
    """What is read of a root, all fields and these attributes."""
    wants = [*((name, "") for name in FIELDS), *(("attributes", key) for key in keys)]
    found = dict(zip((*FIELDS, *keys), reader(wants)("chat", here, told), strict=True))
    for want in wants:
        (alone,) = reader([want])("chat", here, told)
        assert alone == found[want[1] or want[0]]
    return found


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
    call: dict[str, object] = {
        "gen_ai.provider.name": "replicate",
        "gen_ai.request.model": "meta/x",
        "server.port": 1,
        "list": ("a", "b"),
    }
    found = root(Context(), call, "server.port", "list", "absent")
    assert (found["service"], found["provider"], found["model"]) == ("chat", "replicate", "meta/x")
    assert (found["server.port"], found["list"], found["absent"]) == ("1", None, None)
    assert root(Context(), {"http.route": "/chat/{id}"})["route"] == "/chat/{id}"
    assert root(Context(), {})["route"] == ""


def test_others_say_it_with_other_words() -> None:
    theirs = {"llm.model_name": "m", "gen_ai.system": "p", "gen_ai.conversation.id": "s", "enduser.id": "u"}  # fmt: skip
    found = root(Context(), dict(theirs))
    assert [found[name] for name in ("model", "provider", "session", "user")] == [
        "m",
        "p",
        "s",
        "u",
    ]


def test_a_model_or_session_is_matched_by_what_pages_show() -> None:
    theirs = {"gen_ai.response.model": "m", "langfuse.session.id": "s", "langfuse.user.id": "u"}
    found = subject_of_attributes(theirs)
    assert (found.model, found.session, found.user) == ("m", "s", "u")
    read = root(Context(), dict(theirs))
    assert (read["model"], read["session"], read["user"]) == ("m", "s", "u")


def test_session_and_user_are_known_from_our_context_openinferences_and_baggage() -> None:
    with context(session="s-1", user="ann"):
        ours = root(get_current(), {})
    with using_session("s-1"), using_user("ann"):
        theirs = root(get_current(), {})
    carried = baggage.set_baggage("user.id", "ann", baggage.set_baggage("session.id", "s-1"))
    assert ours == theirs == root(carried, {})
    assert (ours["session"], ours["user"]) == ("s-1", "ann")


def test_what_the_span_says_counts_before_what_is_around_it() -> None:
    carried = baggage.set_baggage("session.id", "of baggage", Context())
    assert root(carried, {"session.id": "own"})["session"] == "own"
    assert root(carried, {"session.id": ""})["session"] == "of baggage"
    assert root(carried, {"other": "own"})["session"] == "of baggage"
    assert root(Context(), {})["session"] == ""


def test_of_a_long_value_as_much_is_read_as_is_matched_of_a_session_all() -> None:
    long = "x" * (LONGEST + 1)
    told: dict[str, object] = {"user.id": long, "session.id": long, "http.route": long, "a": long}
    found = root(Context(), told, "a")
    assert (found["user"], found["route"], found["a"]) == (long[:-1],) * 3
    assert found["session"] == long
