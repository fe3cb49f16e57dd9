from typing import Any

import pytest

from llm_observe.conventions import Kind
from llm_observe.policy.capture import ActiveGrant, Clocks, Levels
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
from llm_observe.tracing.rendering.filtering import filter_under, privacy_of
from llm_observe.tracing.rendering.privacy import Privacy

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


def test_a_filter_is_made_of_the_settings_in_force_once() -> None:
    rules = {"m": CaptureRule(match=Matcher(model="m"), level=FULL)}
    settings = Settings(capture=Capture(level=OFF, rules=rules, max_chars=64))
    assert privacy_of(settings) is privacy_of(settings)
    keep = filter_under(privacy_of(settings), lambda: Subject(model="m"))
    assert 40 < len(keep(Kind.INPUT, "x" * 500)) <= 64
    assert filter_under(privacy_of(settings), lambda: Subject(model="n"))(Kind.INPUT, "x") is None


@pytest.mark.parametrize("level", [OFF, FULL])
def test_what_masks_is_not_made_where_nothing_is_masked(level: CaptureLevel) -> None:
    """On a provider that is not ours a filter is made, and used, on the app's thread."""
    made = privacy(capture=Capture(level=level))
    keep = filter_under(made, Subject)
    assert keep(Kind.INPUT, MAIL) == (MAIL if level is FULL else None)
    assert "_redactor" not in vars(made)


# ------------------------------------------------------------------------------------- grants


class Time:
    """Two clocks that move when told to."""

    def __init__(self) -> None:
        self.boot, self.wall = 100.0, 1000.0

    def __call__(self) -> Clocks:
        return Clocks(self.boot, self.wall)


def grant(name: str = "g", *, boot: float = 160.0, wall: float = 1060.0) -> ActiveGrant:
    return ActiveGrant(name, Matcher(user="ann"), FULL, Clocks(boot, wall))


def granted(
    clocks: Time, *grants: ActiveGrant, former: Privacy | None = None, level: CaptureLevel = OFF
) -> Privacy:
    capture = Capture(level=level, output=REDACTED)
    return Privacy(capture, Redaction(), {}, former, grants, clocks)


def of_ann(privacy: Privacy) -> Levels:
    return privacy.levels(lambda: Subject(user="ann"))


def test_a_grant_raises_every_part_of_the_calls_it_matches() -> None:
    held = granted(Time(), grant())
    assert {of_ann(held).of(kind) for kind in (Kind.INPUT, Kind.OUTPUT, Kind.SYSTEM)} == {FULL}
    others = held.levels(lambda: Subject(user="bob"))
    assert (others.of(Kind.INPUT), others.of(Kind.OUTPUT)) == (OFF, REDACTED)


@pytest.mark.parametrize(("boot", "wall"), [(160, 1000), (100, 1060), (5000, 0), (100, 9e9)])
def test_it_ends_by_either_clock_and_for_good(boot: float, wall: float) -> None:
    clocks = Time()
    held = granted(clocks, grant())
    clocks.boot, clocks.wall = boot, wall
    assert of_ann(held).level is OFF
    clocks.boot, clocks.wall = 100.0, 1000.0
    assert of_ann(held).level is OFF


def test_a_request_made_under_it_must_not_leave_after_its_end() -> None:
    clocks = Time()
    held = granted(clocks, grant(), grant("later", boot=500, wall=2000))
    exposure = held.exposure()
    assert not held.outdates(exposure)
    clocks.boot = 160.0
    assert held.outdates(exposure)
    again = held.exposure()
    assert not held.outdates(again)
    clocks.wall = 2000.0
    assert held.outdates(again)
    assert not held.outdates(held.exposure())


def test_to_leave_one_out_or_to_shorten_it_is_a_tightening() -> None:
    clocks = Time()
    first = granted(clocks, grant())
    exposure = first.exposure()
    assert not granted(clocks, grant(), grant("h"), former=first).outdates(exposure)
    assert granted(clocks, grant(boot=120), former=first).outdates(exposure)
    assert granted(clocks, former=first).outdates(exposure)
