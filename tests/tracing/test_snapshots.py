from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_observe.tracing.snapshots import MAX_ITEMS, snapshot

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=8,
).filter(lambda value: _depth(value) <= 4)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


@given(json_values)
def test_a_snapshot_of_json_is_equal(value: Any) -> None:
    assert snapshot(value) == value


def test_a_snapshot_is_bounded_and_holds_no_objects() -> None:
    thing = object()
    assert snapshot({"a": thing, 1: (thing,)}) == {"a": "<object>", "1": ["<object>"]}
    assert len(snapshot(list(range(10_000)))) == MAX_ITEMS
    loop: list[Any] = []
    loop.append(loop)
    assert snapshot(loop) == [[[["<list>"]]]]
    assert snapshot(b"bytes") == "<bytes>"


@given(json_values)
def test_a_snapshot_shares_no_container_with_the_value(value: Any) -> None:
    assert not _containers(value) & _containers(snapshot(value))


def _containers(value: Any) -> set[int]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = {id(value)} if isinstance(value, dict | list) else set()
    return own.union(*map(_containers, inner))
