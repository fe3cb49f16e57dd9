from __future__ import annotations

import pytest

from tests.privacy.actions import sequence, shorter
from tests.privacy.canaries import Canary, Rule, Running, Where
from tests.privacy.sequences import Tally, tally

COUNT = 250


@pytest.fixture(scope="module")
def many() -> Tally:
    return tally(COUNT)


def test_after_an_acknowledged_tightening_no_forbidden_content_leaves(many: Tally) -> None:
    assert many.leaks == {}, "python -m tests.privacy.sequences 1 --from NUMBER shows it"
    assert many.sequences == COUNT


def test_what_may_leave_does_so_that_silence_is_not_taken_for_privacy(many: Tally) -> None:
    """Content is seen to arrive from every path, but for what is refused before it is recorded."""
    assert many.acknowledged > COUNT
    assert many.refused > 0
    assert many.laid - many.seen.keys() == {"score.value"}


def test_a_sequence_is_the_same_each_time() -> None:
    assert sequence(7) == sequence(7)
    assert sequence(7) != sequence(8)


def test_a_sequence_is_made_as_short_as_it_can_be() -> None:
    actions = [("a", number) for number in range(40)]
    assert shorter(actions, lambda some: ("a", 7) in some and ("a", 31) in some) == [
        ("a", 7),
        ("a", 31),
    ]


URL = "http://127.0.0.1:1"


def allowed(kind: str, flavour: str = "plain", *grants: Running, **capture: object) -> bool:
    document = {"capture": capture, "destinations": {"a": {"endpoint": URL}}}
    where = Where("meta/llama", "s1")
    canary = Canary("zqaaaaaaz", "p", (kind,), flavour, where)  # type: ignore[arg-type]  # a word
    return Rule(document, grants).allows(canary, URL)


@pytest.mark.parametrize(
    ("level", "kinds"),
    [
        ("off", ""),
        ("metadata", "metadata label"),
        ("redacted", "metadata label input mixed"),
        ("full", "metadata label input mixed opaque unknown"),
    ],
)
def test_the_oracle_knows_the_four_levels(level: str, kinds: str) -> None:
    every = ("metadata", "label", "input", "mixed", "opaque", "unknown")
    assert [kind for kind in every if allowed(kind, level=level)] == kinds.split()


def test_the_oracle_knows_parts_rules_grants_and_finds() -> None:
    assert not allowed("mixed", level="full", output="off")
    assert allowed("input", level="full", output="off")
    assert not allowed("input+output", level="full", output="off")
    rules = {"r": {"match": {"model": "meta/*"}, "level": "off"}}
    assert not allowed("input", level="full", rules=rules)
    assert allowed("input", "plain", Running({"model": "meta/*"}, "full"), level="off")
    assert not allowed("input", "plain", Running({"model": "acme/*"}, "full"), level="off")
    assert not allowed("input", "mail", level="redacted")
    assert not allowed("label", "mail", level="metadata")
    assert allowed("input", "mail", level="full")
