"""This process's vitals as OTLP metrics, for whoever asked for OpAMP's ``own_metrics``.

Names, units and attributes are OpenTelemetry's conventions for processes ("OS process metrics").
Sums are cumulative from the start of the process, so one that gets lost is made good by the next.
Heavy (the metrics SDK's data model and encoder): loaded through `late`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from llm_observe.agent.vitals import Vitals
from llm_observe.tracing.export import otlp
from llm_observe.version import __version__

SCOPE = "llm_observe.agent"

Values = Mapping[str, float | None]
"""By the value of a row's attribute; under an empty one where it has none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of the conventions. ``monotonic`` None: a gauge."""

    name: str
    unit: str
    description: str
    monotonic: bool | None
    values: Callable[[Vitals, Vitals | None], Values]
    attribute: str = ""


ROWS = (
    Row(
        "process.cpu.time", "s", "Total CPU seconds broken down by different states.", True,
        lambda now, _: {"user": now.user_s, "system": now.system_s}, "cpu.mode",
    ),
    Row(
        "process.cpu.utilization", "1", "CPU time since the last measurement, as a share of the CPUs.",
        None, lambda now, before: {"": now.utilization(before) if before else None},
    ),
    Row(
        "process.memory.usage", "By", "The amount of physical memory in use.", False,
        lambda now, _: {"": now.memory_bytes},
    ),
    Row(
        "process.memory.virtual", "By", "The amount of committed virtual memory.", False,
        lambda now, _: {"": now.virtual_bytes},
    ),
    Row(
        "process.thread.count", "{thread}", "Process threads count.", False,
        lambda now, _: {"": now.threads},
    ),
    Row(
        "process.unix.file_descriptor.count", "{file_descriptor}", "Open file descriptors.", False,
        lambda now, _: {"": now.descriptors},
    ),
    Row(
        "process.context_switches", "{context_switch}", "Number of context switches.", True,
        lambda now, _: {"voluntary": now.voluntary_switches, "involuntary": now.involuntary_switches},
        "process.context_switch.type",
    ),
    Row(
        "process.paging.faults", "{fault}", "Number of page faults the process has made.", True,
        lambda now, _: {"minor": now.minor_faults, "major": now.major_faults},
        "system.paging.fault.type",
    ),
    Row(
        "process.uptime", "s", "The time the process has been running.", None,
        lambda now, _: {"": now.uptime_s},
    ),
)  # fmt: skip


def request(resource: Resource, now: Vitals, before: Vitals | None, since_ns: int) -> bytes:
    """An encoded export request: this look at the process; ``before`` is the one before it.

    ``since_ns`` (Unix time) is when counting began: the same in all requests of a process.
    """
    metrics = [metric for row in ROWS if (metric := _metric(row, now, before, since_ns))]
    scope = ScopeMetrics(InstrumentationScope(SCOPE, __version__), metrics, "")
    return otlp.metrics(MetricsData([ResourceMetrics(resource, [scope], "")]))


def _metric(row: Row, now: Vitals, before: Vitals | None, since_ns: int) -> Metric | None:
    points = list(_points(row, row.values(now, before), now.at_ns, since_ns))
    if not points:
        return None
    data: Gauge | Sum = Gauge(points)
    if row.monotonic is not None:
        data = Sum(points, AggregationTemporality.CUMULATIVE, row.monotonic)
    return Metric(row.name, row.description, row.unit, data)


def _points(row: Row, values: Values, at_ns: int, since_ns: int) -> Iterator[NumberDataPoint]:
    for kind, value in values.items():
        if value is not None:
            attributes = {row.attribute: kind} if kind else {}
            yield NumberDataPoint(attributes, since_ns, at_ns, value)
