from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.control.ui import filters
from llm_observe.errors import SettingsError


def test_without_a_query_the_last_day_is_asked_for() -> None:
    where = filters.read({}).where(1_000_000.0)
    assert where.since == 1_000_000.0 - 86400
    assert where.until is None
    assert where.error is None
    assert not where.text


def test_any_time_asks_without_bounds() -> None:
    where = filters.read({"range": "all"}).where(5.0)
    assert where.since is None
    assert where.until is None


def test_typed_moments_win_over_the_range() -> None:
    where = filters.read({"range": "1h", "since": "2026-11-24T08:00:00Z"}).where(9e9)
    assert where.since == 1795507200.0


def test_a_moment_without_zone_is_utc() -> None:
    local, utc = (filters.read({"until": text}).until for text in ("2026-11-24T08:00", "2026-11-24T08:00Z"))  # fmt: skip
    assert local == utc


@pytest.mark.parametrize(
    ("name", "text"),
    [("range", "2y"), ("error", "maybe"), ("since", "yesterday"), ("min_duration_ms", "fast"),
     ("min_duration_ms", "-1"), ("min_duration_ms", "nan")],
)  # fmt: skip
def test_what_cannot_be_read_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        filters.read({name: text})
    assert [problem.path for problem in refused.value.problems] == [name]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "service": st.text(max_size=20),
            "text": st.text(max_size=20),
            "error": st.sampled_from(["yes", "no", ""]),
            "range": st.sampled_from(list(filters.RANGE_NAMES)),
            "since": st.sampled_from(["2026-01-02T03:04:05Z", "2026-01-02T03:04"]),
            "min_duration_ms": st.integers(0, 10**6).map(str),
        },
    )
)  # fmt: skip
def test_filters_survive_the_way_through_the_address(query: dict[str, str]) -> None:
    chosen = filters.read(query)
    again = filters.read(dict(parse_qsl(chosen.query())))
    assert again == chosen


def test_a_filter_can_be_taken_out_or_replaced_in_a_link() -> None:
    chosen = filters.read({"service": "a", "model": "m"})
    assert chosen.query(service=None, cursor="x") == "model=m&cursor=x"
    assert chosen.narrowed
    assert not filters.read({"range": "all"}).narrowed


def test_scores_are_bounded_by_numbers() -> None:
    chosen = filters.read({"score": "helpful", "score_max": "0", "score_min": "-1.5"})
    where = chosen.where(5.0)
    assert (where.score, where.score_min, where.score_max) == ("helpful", -1.5, 0.0)
    assert filters.read(dict(parse_qsl(chosen.query()))) == chosen
    assert chosen.by_score
    assert not filters.read({}).by_score


@pytest.mark.parametrize("text", ["high", "nan", "inf"])
def test_a_score_that_is_no_number_is_named(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        filters.read({"score_min": text})
    assert [problem.path for problem in refused.value.problems] == ["score_min"]
