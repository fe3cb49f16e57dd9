from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.control.ui import waterfall
from llm_observe.spanstore.model import Span
from tests.control.ui.spans import made


def test_children_stand_below_their_parent_in_order_of_start() -> None:
    spans = [
        made("late", 50, 10, parent_id="root"),
        made("root", 0, 100),
        made("early", 10, 20, parent_id="root"),
        made("grandchild", 12, 5, parent_id="early"),
    ]
    rows = waterfall.rows(spans)
    assert [(row.span.span_id, row.depth) for row in rows] == [
        ("root", 0), ("early", 1), ("grandchild", 2), ("late", 1),
    ]  # fmt: skip
    assert rows[0].children == 2


def test_bars_are_percent_of_the_whole_trace() -> None:
    rows = waterfall.rows([made("root", 0, 200), made("half", 100, 50, parent_id="root")])
    assert (rows[1].left, rows[1].width) == (50, 25)


def test_a_span_whose_parent_never_came_is_marked_and_not_lost() -> None:
    (row,) = waterfall.rows([made("a", parent_id="gone")])
    assert row.orphan
    assert row.depth == 0


def test_spans_that_are_each_others_parent_are_shown() -> None:
    rows = waterfall.rows([made("a", parent_id="b"), made("b", parent_id="a")])
    assert {row.span.span_id for row in rows} == {"a", "b"}


def test_a_trace_without_length_still_has_a_bar() -> None:
    (row,) = waterfall.rows([made("a", 0, 0)])
    assert row.width == pytest.approx(100)


def test_a_very_deep_trace_is_no_recursion() -> None:
    spans = [made(str(n), n, 5, parent_id=str(n - 1) if n else "") for n in range(5000)]
    rows = waterfall.rows(spans)
    assert len(rows) == 5000
    assert max(row.depth for row in rows) == waterfall.DEEPEST


ids = st.sampled_from("abcdefgh")


@st.composite
def traces(draw: st.DrawFn) -> list[Span]:
    names = draw(st.lists(ids, unique=True, min_size=1))
    return [
        made(name, draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6)), parent_id=draw(ids))
        for name in names
    ]


@given(traces())
def test_every_span_has_one_row_within_the_picture(spans: list[Span]) -> None:
    rows = waterfall.rows(spans)
    assert sorted(row.span.span_id for row in rows) == sorted(span.span_id for span in spans)
    for row in rows:
        assert 0 <= row.left <= 100
        assert row.width > 0
        assert row.left + row.width <= 100.01


def test_ticks_run_from_the_beginning_to_the_end() -> None:
    assert waterfall.ticks(200, 2) == [(0, 0), (50, 100), (100, 200)]
