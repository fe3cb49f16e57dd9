"""Metric points of OTLP as rows: histograms, exponential histograms, sums and gauges.

Exponential histograms are laid onto one fixed grid (four bounds per power of two), so that all
points of a series share their bounds. Summaries carry no distribution and are refused.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from llm_observe.conventions import PROMOTED
from llm_observe.spanstore import promote, wire
from llm_observe.spanstore.model import Batch, MalformedTelemetry, MetricRow

GRID = tuple(2 ** (step / 4) for step in range(-14 * 4, 27 * 4 + 1))
_MAX_BOUNDS = 1024
_MAX_TIME = 2**63 - 1
_MAX_COUNT = 2**53
_NO_VALUE = 1  # DataPointFlags.NO_RECORDED_VALUE
_CUMULATIVE = pb.AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_DELTA = pb.AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_DIMENSIONS: dict[str, tuple[str, ...]] = {
    "model": PROMOTED["model"],
    "provider": PROMOTED["provider"],
    "operation": PROMOTED["operation"],
    "token_type": ("gen_ai.token.type",),
    "error_type": ("error.type",),
}
_Values = dict[str, Any]


class _Refused(Exception):
    """This point cannot be stored; the argument says why."""


def read_points(request: ExportMetricsServiceRequest, limit: int) -> Batch[MetricRow]:
    """All points of a request.

    Raises:
        MalformedTelemetry: More than ``limit`` points.
    """
    batch: Batch[MetricRow] = Batch()
    for resource_metrics in request.resource_metrics:
        origin = resource_metrics.resource.SerializeToString(deterministic=True)
        resource = wire.attributes(resource_metrics.resource.attributes)
        service = str(resource.get("service.name") or "unknown_service")[:512]
        for scope_metrics in resource_metrics.scope_metrics:
            scope = scope_metrics.scope.name.encode()
            for metric in scope_metrics.metrics:
                _take(batch, metric, service, _digest(origin, scope), limit)
    return batch


def _take(
    batch: Batch[MetricRow], metric: pb.Metric, service: str, origin: bytes, limit: int
) -> None:
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind) if kind else None
    for point in data.data_points if data is not None else ():
        if len(batch) + batch.refused >= limit:
            raise MalformedTelemetry(f"more than {limit} points in one request")
        try:
            batch.append(_row(metric, kind or "", data, point, service, origin))
        except _Refused as refused:
            batch.refused += 1
            batch.reason = batch.reason or str(refused)


def _row(
    metric: pb.Metric, kind: str, data: Any, point: Any, service: str, origin: bytes
) -> MetricRow:
    read = _READERS.get(kind)
    if read is None:
        raise _Refused(f"{metric.name}: {kind} points are not stored")
    _check(metric.name, point)
    attributes = wire.attributes(point.attributes)
    return MetricRow(
        metric=metric.name[:256],
        unit=metric.unit[:64],
        stream=_stream(origin, metric, kind, point),
        start_ns=point.start_time_unix_nano,
        time_ns=point.time_unix_nano,
        cumulative=_cumulative(metric.name, kind, data),
        service=service,
        **_dimensions(attributes),
        **read(metric.name, point),
    )


def _dimensions(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: promote.text(attributes, keys) for name, keys in _DIMENSIONS.items()}


def _check(name: str, point: Any) -> None:
    if point.flags & _NO_VALUE:
        raise _Refused(f"{name}: a point without a value")
    if not 0 < point.time_unix_nano <= _MAX_TIME or point.start_time_unix_nano > _MAX_TIME:
        raise _Refused(f"{name}: a point without a time, or out of range")


def _cumulative(name: str, kind: str, data: Any) -> bool:
    if kind == "gauge":
        return False
    if data.aggregation_temporality not in (_CUMULATIVE, _DELTA):
        raise _Refused(f"{name}: neither delta nor cumulative")
    level = kind == "sum" and not data.is_monotonic  # goes up and down: its value is the answer
    return bool(data.aggregation_temporality == _CUMULATIVE) and not level


def _histogram(name: str, point: pb.HistogramDataPoint) -> _Values:
    bounds, counts = tuple(point.explicit_bounds), tuple(point.bucket_counts)
    if len(bounds) > _MAX_BOUNDS or (counts and len(counts) != len(bounds) + 1):
        raise _Refused(f"{name}: a histogram whose buckets do not fit its bounds")
    if not all(map(math.isfinite, bounds)) or any(a >= b for a, b in itertools.pairwise(bounds)):
        raise _Refused(f"{name}: histogram bounds that do not grow")
    if counts and sum(counts) != point.count:
        raise _Refused(f"{name}: a histogram whose buckets do not add up")
    bounds = bounds if counts else ()
    return {"count": _count(name, point.count), "sum": _sum(name, point.sum)} | {
        "bounds": bounds,
        "counts": counts if bounds else (),
    }


def _exponential(name: str, point: pb.ExponentialHistogramDataPoint) -> _Values:
    if len(point.positive.bucket_counts) + len(point.negative.bucket_counts) > _MAX_BOUNDS:
        raise _Refused(f"{name}: more than {_MAX_BOUNDS} buckets")
    if not -20 <= point.scale <= 20:
        raise _Refused(f"{name}: a scale out of range")
    counts = [0] * (len(GRID) + 1)
    counts[0] = point.zero_count + sum(point.negative.bucket_counts)
    for index, number in enumerate(point.positive.bucket_counts):
        counts[_cell(point.scale, point.positive.offset + index)] += number
    if sum(counts) != point.count:
        raise _Refused(f"{name}: a histogram whose buckets do not add up")
    return {"count": _count(name, point.count), "sum": _sum(name, point.sum)} | {
        "bounds": GRID,
        "counts": tuple(counts),
    }


def _cell(scale: int, index: int) -> int:
    """Where on the grid lies the middle of bucket ``(base^index, base^(index + 1)]``."""
    exponent = (index + 0.5) * 2.0**-scale
    return bisect_left(GRID, 2.0**exponent) if -64 < exponent < 64 else _edge(exponent)


def _edge(exponent: float) -> int:
    return 0 if exponent < 0 else len(GRID)


def _number(name: str, point: pb.NumberDataPoint) -> _Values:
    value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
    return {"count": 1, "sum": _sum(name, float(value))}


def _count(name: str, value: int) -> int:
    if value > _MAX_COUNT:
        raise _Refused(f"{name}: a count out of range")
    return value


def _sum(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise _Refused(f"{name}: a sum that is no finite number")
    return value


def _stream(origin: bytes, metric: pb.Metric, kind: str, point: Any) -> bytes:
    pairs = sorted(pair.SerializeToString(deterministic=True) for pair in point.attributes)
    return _digest(origin, metric.name.encode(), kind.encode(), *pairs)


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()


_READERS: dict[str, Callable[[str, Any], _Values]] = {
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "sum": _number,
    "gauge": _number,
}
