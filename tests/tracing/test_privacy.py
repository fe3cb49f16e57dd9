from typing import Any

import pytest

from llm_observe.conventions import Kind
from llm_observe.policy.capture import Levels
from llm_observe.policy.matching import Subject
from llm_observe.settings.model import (
    Capture,
    CaptureLevel,
    CaptureRule,
    DetectorChoice,
    Matcher,
    PatternRule,
    Redaction,
    Settings,
)
from llm_observe.tracing.call import Call
from llm_observe.tracing.filtering import filter_for_attributes, filter_for_call, privacy_of
from llm_observe.tracing.privacy import Privacy, subject_of_attributes, subject_of_call

OFF, METADATA, REDACTED, FULL = CaptureLevel
MAIL = "joe@example.com"


def privacy(former: Privacy | None = None, **settings: Any) -> Privacy:
    parts = {"capture": Capture(), "redaction": Redaction(), **settings}
    return Privacy(parts["capture"], parts["redaction"], {"KEY": "k"}, former)


@pytest.mark.parametrize(
    ("before", "after", "tighter"),
    [
        ({}, {}, False),
        ({"capture": Capture(level=OFF)}, {"capture": Capture(level=FULL)}, False),
        ({"capture": Capture(level=FULL)}, {"capture": Capture(level=REDACTED)}, True),
        ({"capture": Capture(level=FULL)}, {"capture": Capture(level=FULL, system=OFF)}, True),
        (
            {"capture": Capture(level=FULL)},
            {"capture": Capture(level=FULL, rules={"a": CaptureRule(level=OFF)})},
            True,
        ),
        ({}, {"redaction": Redaction(patterns={"a": PatternRule(pattern="x")})}, True),
        ({"redaction": Redaction(allow=("*",))}, {}, True),
        ({"redaction": Redaction(patterns={"a": PatternRule(pattern="x")})}, {}, False),
    ],
)
def test_what_left_before_is_looser_only_if_something_became_tighter(
    before: dict[str, Any], after: dict[str, Any], tighter: bool
) -> None:
    first = privacy(**before)
    second = privacy(first, **after)
    assert second.number == first.number + 1
    assert (first.number < second.floor) is tighter


def test_a_tightening_stays_in_mind_after_a_loosening() -> None:
    first = privacy(capture=Capture(level=FULL))
    third = privacy(privacy(first, capture=Capture(level=OFF)), capture=Capture(level=FULL))
    assert first.number < third.floor <= third.number


def test_levels_are_those_of_the_call_and_it_is_looked_at_only_if_they_may_differ() -> None:
    def nobody() -> Subject:
        raise AssertionError("looked at")

    assert privacy(capture=Capture(level=OFF)).levels(nobody) == Levels(OFF)
    rules = {"ann": CaptureRule(match=Matcher(user="ann"), level=FULL)}
    differing = privacy(capture=Capture(rules=rules))
    assert differing.levels(lambda: Subject(user="ann")) == Levels(FULL)
    assert differing.levels(Subject) == Levels(METADATA)
    assert differing.strictest is METADATA


def test_the_key_of_hashes_is_read_where_the_program_runs() -> None:
    hashing = {"email": DetectorChoice(action="hash")}
    for key, there in (("env:KEY", True), ("env:OTHER", False), ("", False)):
        made = privacy(redaction=Redaction(detectors=hashing, hash_key=key)).redactor()
        assert made.text(MAIL).startswith("[email:") is there


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


def test_a_filter_is_made_of_the_settings_in_force_once() -> None:
    rules = {"m": CaptureRule(match=Matcher(model="m"), level=FULL)}
    settings = Settings(capture=Capture(level=OFF, rules=rules, max_chars=64))
    assert privacy_of(settings) is privacy_of(settings)
    keep = filter_for_call(settings, Call(provider="p", request_model="m"))
    assert 40 < len(keep(Kind.INPUT, "x" * 500)) <= 64
    assert filter_for_attributes(settings, {"llm.model_name": "n"})(Kind.INPUT, "x") is None
