from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.errors import StoreError
from llm_observe.spanstore import charting
from llm_observe.spanstore.model import SeriesQuery, UnknownColumn
from llm_observe.spanstore.query import SpanReader
from llm_observe.spanstore.sqlite import SpanStore
from tests.spanstore.build import START, Clock, point

NOW = START // 10**9
ALL = SeriesQuery("duration", since=NOW, until=NOW + 60, step_s=10)


@pytest.fixture
def reader(store: SpanStore) -> Iterator[SpanReader]:
    opened = store.reader()
    yield opened
    opened.close()


def put(store: SpanStore, *points: Any) -> None:
    store.append([], list(points)).result(60)


def test_points_fall_into_their_steps_and_gaps_are_filled(
    store: SpanStore, reader: SpanReader
) -> None:
    put(store, point({0: 2, 1: 2}, time_s=5), point({2: 4}, time_s=35))
    (line,) = reader.series(ALL)
    assert [made.time for made in line.points] == [NOW + n * 10 for n in range(6)]
    assert [made.count for made in line.points] == [4, 0, 0, 4, 0, 0]
    assert line.points[0].p50 == 1.0
    assert line.points[0].p99 == pytest.approx(1.98)
    assert line.points[3].p50 == pytest.approx(3.0)
    assert line.points[1].p50 is None
    assert line.unit == "s"


@pytest.mark.parametrize(
    "metric",
    [
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.inference.time_to_first_chunk",
        "llm_observe.client.operation.time_to_first_chunk",
    ],
)
def test_the_time_to_the_first_piece_is_found_under_the_names_of_each_generation(
    store: SpanStore, reader: SpanReader, metric: str
) -> None:
    put(store, point({0: 2}, metric=metric, time_s=5))
    (line,) = reader.series(replace(ALL, metric="ttft"))
    assert line.points[0].count == 2


def test_lines_are_split_by_model_service_or_token_type(
    store: SpanStore, reader: SpanReader
) -> None:
    tokens = "gen_ai.client.token.usage"
    put(
        store,
        point({0: 1}, model="a", stream=b"1"),
        point({0: 2}, model="b", stream=b"2", service="search"),
        point({0: 1}, metric=tokens, token_type="input", stream=b"3"),
        point({0: 1}, metric=tokens, token_type="output", stream=b"4"),
    )

    def totals(query: SeriesQuery) -> dict[str, int]:
        return {s.label: sum(p.count for p in s.points) for s in reader.series(query)}

    assert totals(replace(ALL, by="model")) == {"a": 1, "b": 2}
    assert totals(replace(ALL, by="service")) == {"chatbot": 1, "search": 2}
    assert totals(ALL) == {"": 3}
    assert totals(replace(ALL, model="a")) == {"": 1}
    assert totals(replace(ALL, service="search", by="model")) == {"b": 2}
    assert totals(replace(ALL, metric="tokens", by="token_type")) == {"input": 1, "output": 1}


def test_errors_are_the_calls_with_an_error_type(store: SpanStore, reader: SpanReader) -> None:
    put(store, point({0: 5}, stream=b"1"), point({0: 2}, stream=b"2", error_type="timeout"))
    calls, errors = (reader.series(replace(ALL, metric=m))[0] for m in ("calls", "errors"))
    assert calls.points[0].count == 7
    assert errors.points[0].count == 2


def test_series_of_other_bounds_are_merged(store: SpanStore, reader: SpanReader) -> None:
    put(store, point({0: 2}, stream=b"1"), point({0: 2}, stream=b"2", bounds=(0.5, 1.0)))
    (line,) = reader.series(ALL)
    assert line.points[0].count == 4
    assert line.points[0].p50 is not None
    assert 0 < line.points[0].p50 <= 0.5


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3)), min_size=1, max_size=30),
    st.sampled_from([10, 20, 60, 600, 1200, 3600]),
)
def test_no_call_is_lost_or_doubled_by_any_step(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[int, int]], step_s: int
) -> None:
    store = SpanStore(tmp_path_factory.mktemp("spans") / "spans.db", clock_ns=Clock())
    points = [
        point({cell: 1}, time_s=second, stream=str(n).encode())
        for n, (second, cell) in enumerate(calls)
    ]
    store.append([], points[::2])
    store.append([], points[1::2]).result(60)
    reader = store.reader()
    query = SeriesQuery("calls", NOW - NOW % 3600, NOW + 7200, step_s)
    (line,) = reader.series(query)
    assert sum(made.count for made in line.points) == len(calls)
    for made in line.points:
        inside = [c for c in calls if made.time <= NOW + c[0] < made.time + step_s]
        assert made.count == len(inside)
    reader.close()
    store.close()


def test_cumulative_streams_survive_a_restart_of_the_store(store: SpanStore) -> None:
    put(store, point({0: 5}, time_s=1, cumulative=True))
    store.close()
    again = SpanStore(store.path, clock_ns=Clock())
    put(again, point({0: 5}, time_s=1, cumulative=True), point({0: 8}, time_s=2, cumulative=True))
    reader = again.reader()
    assert reader.series(ALL)[0].points[0].count == 8
    reader.close()
    again.close()


def test_points_from_the_future_and_too_many_series_are_refused(
    store: SpanStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = store.append([], [point({0: 1}, time_s=7200), point({0: 1})]).result(60)
    assert (receipt.points, receipt.points_refused) == (1, 1)
    assert "ahead of the clock" in receipt.reason
    monkeypatch.setattr(charting, "MAX_SERIES", 3)
    many = [point({0: 1}, model=f"m{n}", stream=bytes([n])) for n in range(5)]
    receipt = store.append([], many).result(60)
    assert (receipt.points, receipt.points_refused) == (2, 3)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"metric": "latency"}, UnknownColumn),
        ({"by": "moon"}, UnknownColumn),
        ({"until": NOW + 10**7}, StoreError),
        ({"until": float("nan")}, StoreError),
        ({"since": float("inf")}, StoreError),
    ],
)
def test_a_senseless_question_is_refused(
    reader: SpanReader, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        reader.series(replace(ALL, **changes))


def test_an_empty_range_is_no_lines(reader: SpanReader) -> None:
    assert reader.series(ALL) == []
    assert reader.series(replace(ALL, until=NOW - 100)) == []
