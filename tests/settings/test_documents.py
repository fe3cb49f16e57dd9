from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_observe.settings import documents

NAMES = st.text(min_size=1, max_size=8)
LEAVES = st.one_of(st.booleans(), st.integers(), st.text(max_size=5), st.none())
FRAGMENTS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    NAMES,
    st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3)),
    max_size=4,
)


@given(st.lists(st.text(), min_size=1))
def test_a_path_splits_into_the_names_it_was_joined_from(names: list[str]) -> None:
    assert documents.split_path(documents.join_path(tuple(names))) == tuple(names)


@given(FRAGMENTS)
def test_flattening_and_nesting_are_inverse(fragment: dict[str, Any]) -> None:
    assert documents.nest(documents.flatten(fragment)) == fragment


@given(FRAGMENTS, FRAGMENTS)
def test_after_a_merge_the_upper_leaves_hold(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    merged = documents.flatten(documents.merge(lower, upper))
    assert documents.flatten(upper).items() <= merged.items()


@given(FRAGMENTS, FRAGMENTS)
def test_no_difference_means_one_hash_and_a_difference_two(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    same = documents.canonical(one) == documents.canonical(other)
    assert same == (documents.document_hash(one) == documents.document_hash(other))
    assert documents.diff(one, one) == []


@given(FRAGMENTS)
def test_the_hash_does_not_depend_on_the_order_of_keys(fragment: dict[str, Any]) -> None:
    turned = dict(reversed(fragment.items()))
    assert documents.document_hash(turned) == documents.document_hash(fragment)


def test_setting_and_removing_a_leaf_leave_the_rest_alone() -> None:
    fragment = {"sampling": {"ratio": 1.0}, "capture": {"level": "off"}}
    changed = documents.with_value(fragment, "destinations.a\\.b.endpoint", "http://h")
    assert changed["destinations"] == {"a.b": {"endpoint": "http://h"}}
    assert documents.without(changed, "destinations.a\\.b") == fragment
    assert documents.without(fragment, "sampling.rate") == fragment


def test_a_difference_names_each_leaf_that_changed() -> None:
    before = {"sampling": {"ratio": 1}, "capture": {"level": "off"}}
    after = {"sampling": {"ratio": 0.5}, "x": {"y": 1}}
    assert documents.diff(before, after) == [
        documents.Change("capture.level", "off", None),
        documents.Change("sampling.ratio", 1, 0.5),
        documents.Change("x.y", None, 1),
    ]
