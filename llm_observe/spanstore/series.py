"""Charts from the rolled-up metrics."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from typing import Any

from llm_observe.errors import StoreError
from llm_observe.spanstore.charting import unpack_floats, unpack_ints
from llm_observe.spanstore.model import Point, Series, SeriesQuery, UnknownColumn
from llm_observe.spanstore.rollup import RESOLUTIONS, Histogram, add, percentile

MAX_POINTS = 2000
MAX_LINES = 50

# All generations of the GenAI conventions' names, and ours where 1.36 has none; an app emits one.
_DURATION = ("gen_ai.client.operation.duration", "gen_ai.client.inference.duration")
_TTFT = (
    "gen_ai.client.operation.time_to_first_chunk",
    "gen_ai.client.inference.time_to_first_chunk",
    "llm_observe.client.operation.time_to_first_chunk",
)
_TOKENS = (
    "gen_ai.client.token.usage",
    "gen_ai.client.inference.operation.input_tokens",
    "gen_ai.client.inference.operation.output_tokens",
)
_METRICS: dict[str, tuple[tuple[str, ...], str]] = {
    "duration": (_DURATION, "s"),
    "ttft": (_TTFT, "s"),
    "tokens": (_TOKENS, "{token}"),
    "calls": (_DURATION, "{call}"),
    "errors": (_DURATION, "{call}"),
}
_GROUPS = (None, "model", "service", "token_type")
_Line = dict[int, Histogram]


def read_series(db: sqlite3.Connection, query: SeriesQuery) -> list[Series]:
    """The lines of one chart, most used first; at most 50.

    Raises:
        UnknownColumn: No such metric or group.
        StoreError: More than 2,000 steps, or a step or range that makes no sense.
    """
    steps = _steps(query)
    names, unit = _metric(query)
    lines: dict[str, _Line] = defaultdict(dict)
    for series, label, bounds in _matching(db, query, names):
        _collect(db, query, steps, series, bounds, lines[label])
    ranked = sorted(lines, key=lambda label: (-_size(lines[label]), label))[:MAX_LINES]
    return [Series(label, unit, _points(lines[label], steps)) for label in ranked]


def _steps(query: SeriesQuery) -> range:
    """The starts of all steps, whole multiples of the step."""
    step = max(int(query.step_s), RESOLUTIONS[0]) // RESOLUTIONS[0] * RESOLUTIONS[0]
    try:
        steps = range(int(query.since) // step * step, math.ceil(query.until), step)
    except (ValueError, OverflowError) as error:
        raise StoreError("since and until must be unix seconds") from error
    if len(steps) > MAX_POINTS:
        raise StoreError(f"{len(steps)} steps, at most {MAX_POINTS} can be drawn: a longer step")
    return steps


def _metric(query: SeriesQuery) -> tuple[tuple[str, ...], str]:
    if query.metric not in _METRICS:
        known = ", ".join(_METRICS)
        raise UnknownColumn(f"there is no metric {str(query.metric)[:80]!r}; there is {known}")
    if query.by not in _GROUPS:
        raise UnknownColumn("a chart can be split by model, service or token_type")
    return _METRICS[query.metric]


def _matching(
    db: sqlite3.Connection, query: SeriesQuery, names: tuple[str, ...]
) -> list[tuple[int, str, tuple[float, ...]]]:
    label = query.by or "''"
    marks = ", ".join("?" * len(names))
    only_errors = " AND error_type <> ''" if query.metric == "errors" else ""
    found = db.execute(
        f"SELECT id, {label}, bounds FROM series WHERE metric IN ({marks}){only_errors}"  # noqa: S608  # from _GROUPS
        " AND (? = '' OR service = ?) AND (? = '' OR model = ?)",
        (*names, query.service, query.service, query.model, query.model),
    )
    return [(series, name, unpack_floats(bounds)) for series, name, bounds in found]


def _collect(
    db: sqlite3.Connection,
    query: SeriesQuery,
    steps: range,
    series: int,
    bounds: tuple[float, ...],
    line: _Line,
) -> None:
    resolution = max(r for r in RESOLUTIONS if steps.step % r == 0)
    rows = db.execute(
        "SELECT time, count, sum, counts FROM rollups"
        " WHERE resolution = ? AND series = ? AND time >= ? AND time < ?",
        (resolution, series, steps.start, steps.stop),
    )
    for time, count, total, counts in rows:
        start = time // steps.step * steps.step
        there = Histogram(count, total, bounds, unpack_ints(counts))
        line[start] = add(line[start], there) if start in line else there


def _points(line: _Line, steps: range) -> tuple[Point, ...]:
    return tuple(_point(start, line.get(start)) for start in steps)


def _point(start: int, histogram: Histogram | None) -> Point:
    if histogram is None:
        return Point(start)
    shares: dict[str, Any] = {f"p{n}": percentile(histogram, n / 100) for n in (50, 95, 99)}
    return Point(start, histogram.count, histogram.sum, **shares)


def _size(line: _Line) -> float:
    return sum(histogram.count for histogram in line.values())
