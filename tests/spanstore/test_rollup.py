from __future__ import annotations

from bisect import bisect_left
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.spanstore.model import MetricRow
from llm_observe.spanstore.rollup import Histogram, Seen, add, advance, merge, percentile
from tests.spanstore.build import point

BOUNDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12)
samples = st.lists(st.floats(0, 5.12), min_size=1, max_size=200)


def of(values: list[float], bounds: tuple[float, ...] = BOUNDS) -> Histogram:
    cells = Counter(bisect_left(bounds, value) for value in values)
    counts = tuple(cells.get(index, 0) for index in range(len(bounds) + 1))
    return Histogram(len(values), sum(values), bounds, counts)


@given(samples, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    found = percentile(of(values), share)
    rank = max(1, -(-len(values) * share // 1))
    true = sorted(values)[int(rank) - 1]
    bucket = bisect_left(BOUNDS, true)
    assert found is not None
    assert (BOUNDS[bucket - 1] if bucket else 0) <= found <= BOUNDS[bucket]


@given(st.lists(samples, min_size=1, max_size=5), st.sampled_from([0.5, 0.95, 0.99]))
def test_merged_histograms_are_the_histogram_of_all(parts: list[list[float]], share: float) -> None:
    whole = of([value for part in parts for value in part])
    merged = merge(map(of, parts))
    assert merged.counts == whole.counts
    assert percentile(merged, share) == percentile(whole, share)


bounds = st.lists(st.integers(-20, 60).map(lambda n: n / 10), min_size=1, max_size=8, unique=True)


@given(samples, bounds.map(sorted), samples)
def test_histograms_of_other_bounds_can_be_added(
    one: list[float], cut: list[float], other: list[float]
) -> None:
    both = add(of(one), of(other, tuple(cut)))
    assert both.count == len(one) + len(other)
    assert sum(both.counts) == pytest.approx(both.count)
    assert list(both.bounds) == sorted({*BOUNDS, *cut})
    assert all(number >= 0 for number in both.counts)


def test_the_overflow_bucket_answers_with_its_beginning() -> None:
    assert percentile(Histogram(1, 9, (1.0,), (0, 1)), 0.5) == 1.0
    assert percentile(Histogram(), 0.5) is None
    assert percentile(Histogram(4, 4, (-1.0, 1.0), (0, 4, 0)), 0.5) == 0.0


def run(rows: list[MetricRow]) -> Histogram:
    seen: Seen | None = None
    fresh = []
    for row in rows:
        seen, new = advance(seen, row)
        fresh.append(new or Histogram())
    return merge(fresh)


counts = st.lists(st.dictionaries(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=8)


@given(counts, st.data())
def test_cumulative_points_add_up_to_the_last(
    steps: list[dict[int, int]], data: st.DataObject
) -> None:
    total: Counter[int] = Counter()
    rows = []
    for second, step in enumerate(steps, 1):
        total += Counter(step)
        rows.append(point(total, time_s=second, cumulative=True))
    repeated = [row for row in rows for _ in range(data.draw(st.integers(1, 2)))]
    assert run(repeated).count == sum(total.values())


@given(counts, st.data())
def test_delta_points_count_once_however_often_they_come(
    steps: list[dict[int, int]], data: st.DataObject
) -> None:
    rows = [point(step, time_s=second) for second, step in enumerate(steps, 1)]
    repeated = [row for row in rows for _ in range(data.draw(st.integers(1, 3)))]
    assert run(repeated).count == sum(row.count for row in rows)


def test_a_restarted_counter_counts_from_zero() -> None:
    rows = [
        point({0: 5}, time_s=1, cumulative=True),
        point({0: 7}, time_s=2, cumulative=True),
        point({0: 2}, start_s=3, time_s=4, cumulative=True),
    ]
    assert run(rows).count == 9
    unmarked = [*rows[:2], point({0: 2}, time_s=4, cumulative=True)]
    assert run(unmarked).count == 9


def test_a_late_cumulative_point_is_no_reset() -> None:
    rows = [
        point({0: 5}, time_s=1, cumulative=True),
        point({0: 9}, time_s=3, cumulative=True),
        point({0: 7}, time_s=2, cumulative=True),
    ]
    assert run(rows).count == 9


def test_an_old_counter_only_sets_its_mark() -> None:
    old = [point({0: 1000}, time_s=86400, cumulative=True)]
    assert run(old).count == 0
    assert run([*old, point({0: 1003}, time_s=86410, cumulative=True)]).count == 3
