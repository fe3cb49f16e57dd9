from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.conventions import Kind
from llm_observe.policy.capture import (
    MIXED,
    PARTS,
    CapturePolicy,
    Levels,
    Verdict,
    may_show_content,
    verdict,
)
from llm_observe.policy.matching import Subject
from llm_observe.settings.model import Capture, CaptureLevel, CaptureRule, Matcher

OFF, METADATA, REDACTED, FULL = CaptureLevel
_CONTENT = set(Kind) - {Kind.CORE, Kind.METADATA, Kind.LABEL}


def test_core_always_leaves_and_metadata_from_its_level_on() -> None:
    assert {verdict(Kind.CORE, level) for level in CaptureLevel} == {Verdict.KEEP}
    assert [verdict(Kind.METADATA, level) is Verdict.KEEP for level in CaptureLevel] == [
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("kind", sorted(_CONTENT))
def test_content_leaves_masked_at_redacted_and_whole_at_full_only(kind: Kind) -> None:
    assert verdict(kind, OFF) is verdict(kind, METADATA) is Verdict.DROP
    assert verdict(kind, REDACTED) is not Verdict.KEEP
    assert verdict(kind, FULL) is Verdict.KEEP


@pytest.mark.parametrize("kind", [Kind.MEDIA, Kind.EMBEDDING])
def test_what_detectors_cannot_read_is_dropped_at_redacted(kind: Kind) -> None:
    assert verdict(kind, REDACTED) is Verdict.DROP


def test_a_higher_level_never_shows_less() -> None:
    order = [Verdict.DROP, Verdict.MASK, Verdict.KEEP]
    for kind in Kind:
        ranks = [order.index(verdict(kind, level)) for level in CaptureLevel]
        assert ranks == sorted(ranks)


def test_content_shows_from_redacted_on() -> None:
    assert [may_show_content(Capture(level=level)) for level in CaptureLevel] == [
        False,
        False,
        True,
        True,
    ]


# ------------------------------------------------------------------------------ which level holds

ANN, BOB = Subject(user="ann", model="llama"), Subject(user="bob", model="llama")


def levels(capture: Capture, subject: Subject = ANN) -> Levels:
    return CapturePolicy(capture).levels(subject)


def test_a_part_has_its_own_level_and_others_that_of_the_call() -> None:
    found = levels(Capture(level=FULL, system=OFF, tool_results=REDACTED))
    assert (found.of(Kind.SYSTEM), found.of(Kind.TOOL_RESULT)) == (OFF, REDACTED)
    assert (found.of(Kind.INPUT), found.of(Kind.OUTPUT), found.of(Kind.LABEL)) == (FULL, FULL, FULL)


@pytest.mark.parametrize("kind", [Kind.ERROR, Kind.LOG, Kind.MEDIA, Kind.EMBEDDING, Kind.FEEDBACK])
def test_what_may_quote_any_part_has_the_lowest_level_of_all(kind: Kind) -> None:
    assert levels(Capture(level=FULL, system=OFF)).verdict(kind) is Verdict.DROP
    assert levels(Capture(level=OFF, output=FULL)).verdict(kind) is Verdict.DROP
    assert levels(Capture(level=FULL)).verdict(kind) is Verdict.KEEP


def test_a_rule_decides_for_the_calls_it_matches_and_lowers_their_parts() -> None:
    rules = {"ann": CaptureRule(match=Matcher(user="ann"), level=REDACTED)}
    capture = Capture(level=METADATA, output=FULL, system=OFF, rules=rules)
    for_ann, for_bob = levels(capture, ANN), levels(capture, BOB)
    assert (for_ann.of(Kind.INPUT), for_ann.of(Kind.OUTPUT)) == (REDACTED, REDACTED)
    assert for_ann.of(Kind.SYSTEM) is OFF
    assert (for_bob.of(Kind.INPUT), for_bob.of(Kind.OUTPUT)) == (METADATA, FULL)


def test_of_several_rules_the_lowest_order_decides_then_the_name() -> None:
    rules = {
        "b": CaptureRule(level=FULL, order=5),
        "a": CaptureRule(level=OFF, order=5),
        "z": CaptureRule(level=REDACTED, order=1, match=Matcher(user="bob")),
    }
    capture = Capture(rules=rules)
    assert levels(capture, ANN).level is OFF
    assert levels(capture, BOB).level is REDACTED


@given(
    st.sampled_from(CaptureLevel),
    st.dictionaries(st.sampled_from(sorted(PARTS)), st.sampled_from(CaptureLevel)),
)
def test_of_several_kinds_at_once_the_strictest_counts(
    level: CaptureLevel, parts: dict[str, Any]
) -> None:
    found = levels(replace(Capture(level=level), **parts))
    order = [Verdict.KEEP, Verdict.MASK, Verdict.DROP]
    each = [order.index(found.verdict(kind)) for kind in MIXED]
    assert order.index(found.verdict(*MIXED)) == max(each)
    assert found.whole is (level is FULL and not parts)


def test_whether_calls_differ_is_known_beforehand() -> None:
    assert not CapturePolicy(Capture(system=OFF)).depends_on_call
    assert CapturePolicy(Capture(rules={"a": CaptureRule()})).depends_on_call
