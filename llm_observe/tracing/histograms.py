"""One histogram of one series, kept for the length of one export. Pure.

The SDK's instruments cost some 10 µs per value, and a streamed answer is one value for each of its
pieces; here a value is one bisection. The data point and its encoding are the SDK's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import HistogramDataPoint
from opentelemetry.trace import SpanContext

Attributes = Mapping[str, str | int | bool]


class Histogram:
    """Counts of values between boundaries; a boundary belongs to the bucket below it."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_least", "_most", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum, self._least, self._most = 0.0, float("inf"), float("-inf")
        self._exemplars: dict[int, tuple[float, int, SpanContext]] = {}

    def add(self, values: Iterable[float], now_ns: int, context: SpanContext | None) -> None:
        """Count the values; with a sampled span each is the exemplar of its bucket, the last one stays."""
        counts, bounds, exemplars = self._counts, self._bounds, self._exemplars
        for value in values:
            bucket = bisect_left(bounds, value)
            counts[bucket] += 1
            self._sum += value
            self._least = value if value < self._least else self._least
            self._most = value if value > self._most else self._most
            if context is not None:
                exemplars[bucket] = (value, now_ns, context)

    def point(self, attributes: Attributes, since_ns: int, until_ns: int) -> HistogramDataPoint:
        """What was counted, as a data point of the SDK."""
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=since_ns,
            time_unix_nano=until_ns,
            count=sum(self._counts),
            sum=self._sum,
            bucket_counts=self._counts,
            explicit_bounds=self._bounds,
            min=self._least,
            max=self._most,
            exemplars=[
                Exemplar({}, value, now_ns, context.span_id, context.trace_id)
                for value, now_ns, context in self._exemplars.values()
            ],
        )
