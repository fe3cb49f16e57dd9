import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.policy.matching import Subject, compile_for, compile_matcher, patterns_of
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


patterns, texts = st.text("ab*?|", max_size=4), st.text("ab", max_size=4)


@given(patterns, patterns, patterns, texts, texts, texts | st.none())
def test_a_matcher_says_the_same_of_values_alone(
    model: str, user: str, tenant: str, a: str, b: str, c: str | None
) -> None:
    matcher = Matcher(model=model, user=user, attributes={"tenant": tenant})
    subject = Subject(model=a, user=b, attributes={} if c is None else {"tenant": c})
    values = {("model", ""): a, ("user", ""): b, ("attributes", "tenant"): c}
    wants = tuple(want for want, _ in patterns_of(matcher))
    known = tuple(values[want] for want in wants)
    assert compile_for(matcher, wants)(known) is compile_matcher(matcher)(subject)
