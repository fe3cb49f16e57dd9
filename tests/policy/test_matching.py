import pytest

from llm_observe.policy.matching import Subject, compile_matcher
from llm_observe.settings.model import Matcher, TraceMatcher

CALL = Subject(
    service="chat",
    provider="replicate",
    model="meta/llama-2-70b-chat",
    session="s-1",
    user="ann@example.org",
    route="/chat/{id}",
    attributes={"tenant": "blue"},
)


@pytest.mark.parametrize(
    ("matcher", "fits"),
    [
        (Matcher(), True),
        (Matcher(model="meta/llama-2-70b-chat"), True),
        (Matcher(model="meta/*"), True),
        (Matcher(model="meta/*-7b*"), False),
        (Matcher(model="*-7b-*|*-70b-*"), True),
        (Matcher(model="meta/llama-?-*"), True),
        (Matcher(model="META/*"), False),
        (Matcher(user="ann@*", provider="replicate"), True),
        (Matcher(user="ann@*", provider="ollama"), False),
        (TraceMatcher(route="/chat/*", service="chat", session="s-?"), True),
        (Matcher(attributes={"tenant": "b*"}), True),
        (Matcher(attributes={"tenant": "green"}), False),
        (Matcher(attributes={"region": "*"}), False),
    ],
)
def test_all_that_a_matcher_gives_must_fit(matcher: Matcher, fits: bool) -> None:
    assert compile_matcher(matcher)(CALL) is fits


def test_what_is_not_known_fits_only_what_asks_for_nothing() -> None:
    assert compile_matcher(Matcher(user="*"))(Subject())
    assert not compile_matcher(Matcher(user="?*"))(Subject())
