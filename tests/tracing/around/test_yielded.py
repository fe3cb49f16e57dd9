from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_observe.tracing.around.values import MAX_CHARACTERS, MAX_ITEMS
from llm_observe.tracing.around.yielded import Yielded


def kept(items: list[Any], returned: Any = None) -> Any:
    yielded = Yielded()
    for item in items:
        yielded.add(item)
    return yielded.all(returned)


def test_nothing_yielded_is_what_was_returned() -> None:
    assert kept([], "done") == "done"


def test_pieces_of_text_are_one_text_within_bounds() -> None:
    assert kept(["a", "", "b"]) == "ab"
    text = kept(["x" * 1000] * 1000)
    assert text == "x" * MAX_CHARACTERS


def test_text_after_other_items_stays_an_item() -> None:
    assert kept(["a", 1, "b"]) == ["a", 1, "b"]


def test_later_changes_do_not_reach_what_was_kept() -> None:
    item = [1]
    yielded = Yielded()
    yielded.add(item)
    item.append(2)
    assert yielded.all(None) == [[1]]


@given(st.lists(st.integers() | st.text(max_size=3), max_size=MAX_ITEMS * 2))
def test_never_more_items_than_the_bound(items: list[Any]) -> None:
    found = kept(items)
    assert not isinstance(found, list) or len(found) <= MAX_ITEMS
