from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.errors import StoreError
from llm_observe.spanstore import cursors


@given(st.integers(-(2**63), 2**63 - 1), st.binary(min_size=1, max_size=2048))
def test_a_cursor_comes_back_as_it_was_given_out(time_ns: int, tie: bytes) -> None:
    cursor = cursors.encode(time_ns, tie)
    assert cursors.decode(cursor) == (time_ns, tie)
    assert cursor.isascii()


@given(st.text(max_size=40))
def test_any_text_is_a_position_or_refused(cursor: str) -> None:
    try:
        position = cursors.decode(cursor)
    except StoreError as error:
        assert "cursor" in str(error)  # noqa: PT017  # only some texts are refused
    else:
        assert position is not None


def test_no_cursor_is_the_beginning() -> None:
    assert cursors.decode(None) is None
    with pytest.raises(StoreError):
        cursors.decode(cursors.encode(0, b"x" * 5000))
