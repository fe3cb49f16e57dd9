from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from llm_observe.conventions import Kind
from llm_observe.policy.capture import PARTS, ActiveGrant, CapturePolicy, Clocks
from llm_observe.policy.grants import deadline
from llm_observe.policy.matching import Subject
from llm_observe.policy.rules import redactor
from llm_observe.policy.tightening import capture_of_both, grants_of_both, redaction_of_both
from llm_observe.settings.model import (
    Capture,
    CaptureLevel,
    CaptureRule,
    DetectorChoice,
    Grant,
    Matcher,
    PatternRule,
    Redaction,
)

USERS = ["ann", "bob", ""]
KINDS = [kind for kind in Kind if kind is not Kind.CORE]

levels = st.sampled_from(CaptureLevel)
matchers = st.builds(Matcher, user=st.sampled_from(["", "ann", "b*"]))
rules = st.builds(CaptureRule, match=matchers, level=levels, order=st.integers(0, 3))
untils = st.sampled_from(["2026-12-01T18:00:00Z", "2026-12-01T18:30:00+01:00"])
grants = st.builds(Grant, match=matchers, level=levels, until=untils, longest_s=st.floats(1, 9))
captures = st.builds(
    Capture,
    level=levels,
    rules=st.dictionaries(st.sampled_from("abc"), rules),
    grants=st.dictionaries(st.sampled_from("gh"), grants),
    **dict.fromkeys(PARTS, st.none() | levels),
)


@given(captures, captures, st.sampled_from(USERS))
def test_it_never_allows_more_than_either(one: Capture, other: Capture, user: str) -> None:
    subject = Subject(user=user)
    both, first, second = (
        CapturePolicy(capture).levels(subject)
        for capture in (capture_of_both(one, other), one, other)
    )
    for kind in KINDS:
        assert both.of(kind).rank <= min(first.of(kind).rank, second.of(kind).rank)


def active(capture: Capture) -> list[ActiveGrant]:
    return [
        ActiveGrant(name, one.match, one.level, Clocks(one.longest_s, deadline(one.until)))
        for name, one in capture.grants.items()
    ]


@given(captures, captures)
def test_of_grants_those_of_both_stay_and_end_no_later(one: Capture, other: Capture) -> None:
    both = capture_of_both(one, other)
    assert active(both) == [*grants_of_both(active(one), active(other))]
    for name, kept in both.grants.items():
        for side in (one.grants[name], other.grants[name]):
            assert kept.match == side.match
            assert kept.level.rank <= side.level.rank
            assert deadline(kept.until) <= deadline(side.until)
            assert kept.longest_s <= side.longest_s


@given(captures)
def test_nothing_changes_where_nothing_changed(capture: Capture) -> None:
    assert capture_of_both(capture, capture) is capture


@given(levels, levels)
def test_without_rules_it_is_exact(one: CaptureLevel, other: CaptureLevel) -> None:
    both = capture_of_both(Capture(level=one, output=other), Capture(level=other))
    assert both.level is min(one, other, key=lambda level: level.rank)
    assert both.output is other


def test_of_two_bounds_of_length_the_shorter_holds() -> None:
    bounds = [(0, 0, 0), (0, 100, 100), (100, 0, 100), (100, 200, 100)]
    for one, other, both in bounds:
        found = capture_of_both(Capture(max_chars=one), Capture(max_chars=other))
        assert found.max_chars == both


actions = st.sampled_from(["mask", "drop"])
choices = st.builds(DetectorChoice, enabled=st.booleans(), action=actions)
own = st.builds(
    PatternRule,
    pattern=st.sampled_from(["EMP-[0-9]+", "blue"]),
    enabled=st.booleans(),
    action=actions,
)
redactions = st.builds(
    Redaction,
    detectors=st.dictionaries(st.sampled_from(["email", "ip", "id-pl"]), choices),
    patterns=st.dictionaries(st.sampled_from("pq"), own),
    allow=st.lists(st.sampled_from(["joe@*", "10.*"]), unique=True).map(tuple),
)
SECRETS = ["joe@example.com", "10.0.0.1", "44051401458", "EMP-77", "blue"]


@given(redactions, redactions)
def test_what_either_takes_out_is_taken_out(one: Redaction, other: Redaction) -> None:
    both = redactor(redaction_of_both(one, other), None)
    for secret in SECRETS:
        sides = [redactor(side, None).text(f"see {secret} now") for side in (one, other)]
        if any(secret not in text for text in sides):
            assert secret not in both.text(f"see {secret} now")
        if any("dropped" in text for text in sides):
            assert "dropped" in both.text(f"see {secret} now")


def test_a_hash_gives_way_to_a_mask_and_needs_the_same_key() -> None:
    hashing = Redaction(detectors={"email": DetectorChoice(action="hash")}, hash_key="env:A")
    both = redaction_of_both(hashing, Redaction())
    assert both.detectors["email"].action == "mask"
    assert redaction_of_both(hashing, replace(hashing, hash_key="env:B")).hash_key == ""
