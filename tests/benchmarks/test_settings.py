"""What the benchmark of settings makes of the calls that it saw."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parents[2] / "benchmarks"
MS = 1_000_000


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    sys.path.insert(0, str(HERE))
    try:
        yield importlib.import_module("settings")
    finally:
        sys.path.remove(str(HERE))


def figures(benchmark: Any, calls: list[tuple[int, int, bool]]) -> dict[str, Any]:
    """Of pushes at 0 (record nothing) and at 100 ms, each acknowledged 50 ms later."""
    ratio = benchmark.kinds("one", "other")[0]
    pushes = [
        benchmark.Push(start * MS, (start + 10) * MS, (start + 50) * MS, odd)
        for start, odd in ((0, False), (100, True))
    ]
    seen = [
        benchmark.Seen(began * MS, ended * MS, number, recorded)
        for number, (began, ended, recorded) in enumerate(calls)
    ]
    found: dict[str, Any] = benchmark._figures(ratio, pushes, seen, {})
    return found


def test_the_first_call_counts_from_which_on_all_obey(benchmark: Any) -> None:
    calls = [(5, 6, True), (20, 21, False), (25, 26, True), (30, 31, False), (60, 61, False)]
    after = [(105, 106, False), (140, 141, True), (160, 161, True)]
    found = figures(benchmark, calls + after)
    assert found["obeys_ms"]["most"] == 40.0
    assert found["obeys_ms"]["p50"] == 35.0
    assert found["disobeyed_after_applied"] == 0


def test_a_call_that_disobeys_after_the_acknowledgement_is_counted(benchmark: Any) -> None:
    found = figures(benchmark, [(20, 21, False), (70, 71, True), (80, 81, False), (110, 111, True)])
    assert found["disobeyed_after_applied"] == 1
    assert found["obeys_ms"]["most"] == 80.0


def test_a_call_that_leaves_after_the_next_push_may_obey_that(benchmark: Any) -> None:
    found = figures(benchmark, [(20, 21, False), (95, 130, True), (140, 141, True)])
    assert found["disobeyed_after_applied"] == 0


def test_what_arrived_tells_which_of_two_holds(benchmark: Any) -> None:
    _, level, endpoint = benchmark.kinds("one", "other")
    call = benchmark.Seen(0, 1, 7, True)
    assert level.is_first(call, {7: " one bare"}) is True
    assert level.is_first(call, {7: " one content"}) is False
    assert endpoint.is_first(call, {7: " other content"}) is False
    assert level.is_first(call, {}) is None
