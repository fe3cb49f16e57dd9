"""Histograms over time. Pure: points in, differences, merged histograms and percentiles out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llm_observe.spanstore.model import MetricRow

RESOLUTIONS = (10, 600)  # seconds; the finer one is kept for days, the coarser one for a year
_FIRST_NS = 600 * 10**9
_REMEMBERED = 8


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between bounds; ``len(counts) == len(bounds) + 1``, or no buckets at all.

    Bucket ``i`` holds values above ``bounds[i - 1]`` up to and with ``bounds[i]``.
    """

    count: int = 0
    sum: float = 0.0
    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """The last point of one stream, and the times of the last few."""

    start_ns: int
    time_ns: int
    count: int
    sum: float
    counts: tuple[int, ...]
    recent: tuple[int, ...]


def advance(seen: Seen | None, row: MetricRow) -> tuple[Seen, Histogram | None]:
    """What is new in a point, and what to remember of its stream; None: nothing is new.

    Delta: a point of a time already seen is a repetition. Cumulative: the difference to the
    point before; after a reset (a later start, or a smaller count) the whole point is new. The
    first point of a stream counts whole if it began at most ten minutes before; an older or
    unknown beginning only sets the mark, or one bucket would show a day's work.
    """
    if seen is not None and row.time_ns in seen.recent:
        return seen, None
    after = _remember(seen, row)
    if not row.cumulative:
        return after, Histogram(row.count, row.sum, row.bounds, row.counts)
    if seen is None:
        young = 0 < row.time_ns - row.start_ns <= _FIRST_NS and row.start_ns > 0
        return after, Histogram(row.count, row.sum, row.bounds, row.counts) if young else None
    if _was_reset(seen, row):
        return after, Histogram(row.count, row.sum, row.bounds, row.counts)
    if row.time_ns <= seen.time_ns:
        return seen, None
    return after, _difference(seen, row)


def add(one: Histogram, other: Histogram) -> Histogram:
    """Both together; different bounds are brought onto the union of both."""
    if not one.counts or not other.counts or one.bounds == other.bounds:
        filled, empty = (one, other) if one.counts else (other, one)
        counts = tuple(a + b for a, b in zip(filled.counts, _same_size(empty, filled), strict=True))
        return Histogram(one.count + other.count, one.sum + other.sum, filled.bounds, counts)
    union = tuple(sorted({*one.bounds, *other.bounds}))
    return add(_refine(one, union), _refine(other, union))


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """All together."""
    total = Histogram()
    for histogram in histograms:
        total = add(total, histogram)
    return total


def percentile(histogram: Histogram, share: float) -> float | None:
    """The value below which ``share`` (0 to 1) of the values lie, interpolated in its bucket.

    The first bucket is taken to begin at 0, or at its bound where that is negative; the last has
    no end, so its beginning is the answer. None for an empty histogram.
    """
    total = sum(histogram.counts)
    if not total:
        return None
    rank, below = share * total, 0.0
    for index, number in enumerate(histogram.counts):
        if number and below + number >= rank:
            return _inside(histogram.bounds, index, (rank - below) / number)
        below += number
    return histogram.bounds[-1]


def _inside(bounds: Sequence[float], index: int, part: float) -> float:
    if index == len(bounds):
        return bounds[-1]
    high = bounds[index]
    low = bounds[index - 1] if index else min(0.0, high)
    return low + (high - low) * part


def _remember(seen: Seen | None, row: MetricRow) -> Seen:
    recent = (row.time_ns, *(seen.recent if seen else ()))[:_REMEMBERED]
    counts = row.counts if row.cumulative else ()
    return Seen(row.start_ns, row.time_ns, row.count, row.sum, counts, recent)


def _was_reset(seen: Seen, row: MetricRow) -> bool:
    if row.start_ns > seen.time_ns or len(row.counts) != len(seen.counts):
        return True
    later = row.time_ns > seen.time_ns
    return later and (row.count < seen.count or (not row.counts and row.sum < seen.sum))


def _difference(seen: Seen, row: MetricRow) -> Histogram:
    if not row.counts and row.count == 1:  # a sum: its value is in ``sum``
        return Histogram(1, row.sum - seen.sum)
    counts = tuple(max(0, a - b) for a, b in zip(row.counts, seen.counts, strict=True))
    return Histogram(row.count - seen.count, row.sum - seen.sum, row.bounds, counts)


def _same_size(empty: Histogram, filled: Histogram) -> Sequence[float]:
    return empty.counts or (0,) * len(filled.counts)


def _refine(histogram: Histogram, union: tuple[float, ...]) -> Histogram:
    """On more bounds: each bucket is spread evenly over the buckets it falls into."""
    counts = [0.0] * (len(union) + 1)
    edges = (min(0.0, union[0]), *union)
    position = 0
    for index, number in enumerate(histogram.counts):
        if index == len(histogram.bounds):
            counts[position] += number
            break
        end = union.index(histogram.bounds[index]) + 1
        width = edges[end] - edges[position]
        for cell in range(position, end):
            share = (edges[cell + 1] - edges[cell]) / width if width else 1 / (end - position)
            counts[cell] += number * share
        position = end
    return Histogram(histogram.count, histogram.sum, union, tuple(counts))
