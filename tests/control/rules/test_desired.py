from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.control.rules import desired
from llm_observe.control.rules.model import Edit, Scope, Version
from llm_observe.conventions import Kind
from llm_observe.errors import SettingsError
from llm_observe.policy.capture import CapturePolicy
from llm_observe.policy.matching import Subject
from llm_observe.settings.documents import flatten, split_path
from llm_observe.settings.layers import as_document, build
from llm_observe.settings.model import CaptureLevel

NAMES = st.text(st.characters(codec="ascii", exclude_characters="\n"), min_size=1, max_size=4)
DOCUMENTS = st.recursive(
    st.dictionaries(NAMES, st.integers() | st.text(max_size=3), max_size=3),
    lambda inner: st.dictionaries(NAMES, inner | st.integers(), max_size=3),
    max_leaves=8,
)


def version(number: int, document: dict[str, Any], service: str | None = None) -> Version:
    return Version(number, Scope.of(service), document, "", float(number))


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("chat", {"sampling": {"ratio": 0.9}, "capture": {"level": "off"}}),
        ("other", {"sampling": {"ratio": 0.1}, "capture": {"level": "off"}}),
    ],
)
def test_a_service_wins_over_all_agents_whichever_was_set_last(
    service: str, expected: dict[str, Any]
) -> None:
    heads = [
        version(2, {"sampling": {"ratio": 0.9}}, "chat"),
        version(3, {"sampling": {"ratio": 0.1}, "capture": {"level": "off"}}),
    ]
    for order in (heads, heads[::-1]):
        found = desired.wanted(order, {"service.name": service})
        assert found is not None
        assert (found.document, found.version) == (expected, 3)


def test_an_empty_document_is_still_wanted_and_no_version_is_not() -> None:
    found = desired.wanted([version(1, {})], {"service.name": "a"})
    assert found is not None
    assert found.document == {}
    assert desired.wanted([], {"service.name": "a"}) is None
    assert desired.wanted([version(1, {}, "b")], {"service.name": "a"}) is None
    assert desired.wanted([version(1, {}, "b")], {}) is None


@given(DOCUMENTS, DOCUMENTS)
def test_setting_keys_sets_them_and_touches_nothing_beside_them(
    current: dict[str, Any], more: dict[str, Any]
) -> None:
    wanted = flatten(more)
    after = flatten(desired.edited(current, Edit(set=wanted)))
    beside = {
        path: value
        for path, value in flatten(current).items()
        if not any(_related(split_path(path), split_path(other)) for other in wanted)
    }
    assert after == beside | wanted


def _related(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one path lies on the way to the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


@given(DOCUMENTS)
def test_unsetting_every_key_leaves_nothing(document: dict[str, Any]) -> None:
    left = desired.edited(document, Edit(unset=list(flatten(document))))
    assert flatten(left) == {}


@given(DOCUMENTS, DOCUMENTS)
def test_an_edit_leaves_what_it_starts_from_untouched(
    current: dict[str, Any], more: dict[str, Any]
) -> None:
    before = repr(current)
    desired.edited(current, Edit(set=flatten(more)))
    assert repr(current) == before


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (Edit(unset=["capture.level"]), "capture.level"),
        (Edit(unset=["sampling.rat"]), "sampling.rat"),
        (Edit(set={"a..b": 1}), "a..b"),
        (Edit(set={".".join("abcdefghijklmn"): 1}), "a.b.c.d.e.f.g.h.i.j.k.l.m.n"),
    ],
)
def test_a_path_that_means_nothing_is_refused(edit: Edit, path: str) -> None:
    with pytest.raises(SettingsError) as caught:
        desired.edited({"sampling": {"ratio": 1}}, edit)
    assert [p.path for p in caught.value.problems] == [path]


FULL, OFF, METADATA = ({"capture": {"level": level}} for level in ("full", "off", "metadata"))


@pytest.mark.parametrize(
    ("before", "after", "in_force", "loose"),
    [
        ({}, FULL, None, True),
        ({}, METADATA, None, False),
        ({}, FULL, FULL, False),
        ({}, METADATA, OFF, True),
        (OFF, FULL, OFF, True),
        (FULL, OFF, FULL, False),
        (OFF, {}, OFF, True),
        (FULL, {}, FULL, False),
        (OFF, OFF, None, False),
        ({}, {"sampling": {"ratio": 1}}, METADATA, False),
        ({}, FULL, {"capture": "nonsense"}, True),
        ({}, FULL, {"capture": {"level": "unheard of"}}, True),
    ],
)
def test_what_may_record_more_is_called_loosening(
    before: dict[str, Any], after: dict[str, Any], in_force: dict[str, Any] | None, loose: bool
) -> None:
    assert desired.loosens(before, after, in_force) is loose


def rule(level: str, **more: Any) -> dict[str, Any]:
    return {"rules": {"vip": {"level": level, **more}}}


ANN = {"match": {"user": "ann"}}


@pytest.mark.parametrize(
    ("before", "after", "in_force", "loose"),
    [
        ({}, {"output": "full"}, {"level": "metadata"}, True),
        ({}, {"output": "full"}, {"level": "full"}, False),
        ({}, {"output": "off"}, {"level": "metadata"}, False),
        ({"output": "off"}, {"output": "metadata"}, {"level": "full", "output": "off"}, True),
        ({"output": "off"}, {}, {"level": "full", "output": "off"}, True),
        ({"level": "off", "output": "metadata"}, {"level": "off"}, None, False),
        ({}, rule("full"), {"level": "metadata"}, True),
        ({}, rule("full"), None, True),
        ({}, rule("metadata"), None, False),
        ({}, rule("off"), {"level": "metadata"}, False),
        (rule("off"), {}, {"level": "metadata"}, True),
        (rule("off"), {}, {"level": "off"}, False),
        (rule("full"), {}, {"level": "metadata"}, False),
        (rule("full"), rule("redacted"), {"level": "metadata"}, False),
        (rule("metadata"), rule("off"), {"level": "full"}, False),
        (rule("off"), rule("metadata"), {"level": "full"}, True),
        (rule("off"), rule("off", **ANN), {"level": "full"}, True),
        (rule("off"), rule("off", order=200), {"level": "full"}, True),
        (rule("full", **ANN), rule("full"), {"level": "metadata"}, True),
    ],
)
def test_a_part_or_a_rule_that_may_record_more_is_called_loosening(
    before: dict[str, Any], after: dict[str, Any], in_force: dict[str, Any] | None, loose: bool
) -> None:
    now = None if in_force is None else {"capture": in_force}
    assert desired.loosens({"capture": before}, {"capture": after}, now) is loose


LEVELS = st.sampled_from([str(level) for level in CaptureLevel])
RULES = st.fixed_dictionaries(
    {"level": LEVELS},
    optional={"match": st.just({"user": "ann"}), "order": st.sampled_from([1, 200])},
)
CAPTURES = st.fixed_dictionaries(
    {},
    optional={
        "level": LEVELS, "output": LEVELS, "system": LEVELS,
        "rules": st.dictionaries(st.sampled_from("abc"), RULES, max_size=3),
    },
)  # fmt: skip


@given(CAPTURES, CAPTURES, st.booleans())
def test_nothing_that_records_more_of_any_call_goes_without_being_called_loosening(
    before: dict[str, Any], after: dict[str, Any], told: bool
) -> None:
    one, other = {"capture": before}, {"capture": after}
    policies = [CapturePolicy(build(document).capture) for document in (one, other)]
    subjects = (Subject(), Subject(user="ann"))
    found = [[policy.levels(who) for policy in policies] for who in subjects]
    more = any(b.of(kind).rank > a.of(kind).rank for a, b in found for kind in Kind)
    in_force = as_document(build(one)) if told else None
    assert desired.loosens(one, other, in_force) or not more


DOCUMENT = {
    "sampling": {"ratio": 0.5, "budget": 3},
    "destinations": {"new": {"endpoint": "http://h", "region": "eu"}},
}


@pytest.mark.parametrize(
    ("same", "in_force", "left_out"),
    [
        (True, None, ()),
        (False, None, ("sampling.budget", "destinations.new.region")),
        (False, {"sampling": {"budget": 1}}, ("destinations.new.region",)),
        (False, {"destinations": {"old": {"region": "us"}}}, ("sampling.budget",)),
    ],
)
def test_an_agent_is_not_sent_keys_that_it_lacks(
    same: bool, in_force: dict[str, Any] | None, left_out: tuple[str, ...]
) -> None:
    sent, missing = desired.for_schema(DOCUMENT, same_schema=same, in_force=in_force)
    assert missing == left_out
    assert flatten(sent).keys() == flatten(DOCUMENT).keys() - set(left_out)


def test_the_first_keys_are_those_of_the_present_schema() -> None:
    """Today's schema is the first one: whoever adds a key must leave FIRST_KEYS as it is."""
    document = {
        "sampling": {"ratio": 1.0}, "capture": {"level": "off"},
        "destinations": {"a.b": {"headers": {"x.y": "env:X"}, "endpoint": "http://h"}},
    }  # fmt: skip
    assert desired.for_schema(document, same_schema=False, in_force=None) == (document, ())
