"""Own metrics of the process: sent while they are wanted, to where they are wanted, as conventions say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.sdk.resources import Resource
from opentelemetry.semconv._incubating.attributes.cpu_attributes import CPU_MODE
from opentelemetry.semconv._incubating.attributes.process_attributes import (
    PROCESS_CONTEXT_SWITCH_TYPE,
)
from opentelemetry.semconv._incubating.attributes.system_attributes import (
    SYSTEM_PAGING_FAULT_TYPE,
)
from opentelemetry.semconv._incubating.metrics import process_metrics

from llm_observe.agent import own_metrics
from llm_observe.agent.identity import identifying, non_identifying
from llm_observe.agent.vitals import Vitals
from llm_observe.opamp import ConnectionOffer, ConnectionSettings
from tests.agent.doubles import Bench

SECOND = 1_000_000_000
METRICS = ConnectionSettings("https://own:4318/v1/metrics")
TRACES = ConnectionSettings("https://own:4318/v1/traces")
NOW = Vitals(
    at_ns=100 * SECOND, user_s=3.0, system_s=1.0, cpus=2, uptime_s=60.0, memory_bytes=5 << 20,
    virtual_bytes=9 << 20, threads=7, descriptors=12, minor_faults=30, major_faults=2,
    voluntary_switches=40, involuntary_switches=4,
)  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def sent(bench: Bench) -> list[tuple[str, ExportMetricsServiceRequest]]:
    found, bench.pipeline.metrics = bench.pipeline.metrics, []
    return [(name, ExportMetricsServiceRequest.FromString(data)) for name, data in found]


def by_name(request: ExportMetricsServiceRequest) -> dict[str, Metric]:
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: metric for metric in scope.metrics}


def encoded(now: Vitals, before: Vitals | None = None, since_ns: int = 0) -> dict[str, Metric]:
    data = own_metrics.request(Resource({}), now, before, since_ns)
    return by_name(ExportMetricsServiceRequest.FromString(data))


def test_nobody_is_sent_what_nobody_asked_for(bench: Bench) -> None:
    bench.wait(60)
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES))
    bench.wait(60)
    assert sent(bench) == []


@pytest.mark.opamp("O-07")
def test_they_are_sent_at_once_and_every_ten_seconds_until_they_are_withdrawn(bench: Bench) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_metrics=METRICS))
    assert [name for name, _ in sent(bench)] == ["opamp"]
    for _ in range(10):
        bench.wait(2.0)
    assert [name for name, _ in sent(bench)] == ["opamp", "opamp"]
    bench.offer_connections(ConnectionOffer(b"2", own_metrics=ConnectionSettings("")))
    bench.wait(60)
    assert sent(bench) == []
    bench.offer_connections(ConnectionOffer(b"3", own_metrics=METRICS))
    assert [name for name, _ in sent(bench)] == ["opamp"]


def test_they_go_where_the_metrics_are_wanted_and_not_where_the_traces_are(bench: Bench) -> None:
    elsewhere = replace(METRICS, endpoint="https://other:4318/v1/metrics")
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES, own_metrics=elsewhere))
    assert [name for name, _ in sent(bench)] == ["opamp-metrics"]


def test_sums_count_from_one_moment_so_that_no_receiver_takes_it_for_a_restart(
    bench: Bench,
) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_metrics=METRICS))
    for _ in range(3):
        bench.wait(10)
    bench.offer_connections(ConnectionOffer(b"2", own_metrics=ConnectionSettings("")))
    bench.offer_connections(ConnectionOffer(b"3", own_metrics=METRICS))
    starts = {
        point.start_time_unix_nano
        for _, request in sent(bench)
        for point in by_name(request)["process.cpu.time"].sum.data_points
    }
    assert len(starts) == 1
    (start,) = starts
    assert abs(start / 1e9 - psutil.Process().create_time()) < 2


@pytest.mark.opamp("D-02", "O-10")
def test_their_resource_is_what_the_agent_says_it_is(bench: Bench) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_metrics=METRICS))
    ((_, request),) = sent(bench)
    told = {a.key: a.value for a in request.resource_metrics[0].resource.attributes}
    described = bench.seen.description
    for name, value in described.identifying.items():
        assert told[name].string_value == value
    resource = bench.runtime.standing.resource
    assert set(told) == {*identifying(resource), *non_identifying(resource)}
    assert set(described.non_identifying) <= set(told)


@pytest.mark.opamp("O-08")
def test_names_units_kinds_and_attributes_are_those_of_the_conventions() -> None:
    kinds = {"counter": ("sum", True), "updowncounter": ("sum", False), "gauge": ("gauge", None)}
    found = encoded(NOW, replace(NOW, at_ns=90 * SECOND, user_s=1.0))
    for name, metric in found.items():
        wanted = _convention(name)
        kind = metric.WhichOneof("data")
        monotonic = metric.sum.is_monotonic if kind == "sum" else None
        assert (metric.unit, kind, monotonic) == (wanted["Unit"], *kinds[wanted["Instrument"]]), (
            name
        )
    keys = {
        name: {a.key for p in metric.sum.data_points for a in p.attributes}
        for name, metric in found.items()
    }
    assert {name: found for name, found in keys.items() if found} == {
        process_metrics.PROCESS_CPU_TIME: {CPU_MODE},
        process_metrics.PROCESS_CONTEXT_SWITCHES: {PROCESS_CONTEXT_SWITCH_TYPE},
        process_metrics.PROCESS_PAGING_FAULTS: {SYSTEM_PAGING_FAULT_TYPE},
    }
    assert {"process.cpu.time", "process.memory.usage", "process.thread.count"} <= set(found)
    assert len(found) == len(own_metrics.ROWS)


def _convention(name: str) -> dict[str, str]:
    """Instrument and unit of a metric, as the published conventions say in their documentation."""
    constant = name.upper().replace(".", "_")
    source = Path(process_metrics.__file__).read_text()
    text = source.partition(f'{constant}: Final = "{name}"')[2].split('"""')[1]
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def test_values_are_those_of_the_process_and_sums_count_from_its_start() -> None:
    found = encoded(NOW, replace(NOW, at_ns=90 * SECOND, user_s=1.0), NOW.started_ns or 0)
    cpu = found["process.cpu.time"].sum.data_points
    modes = {p.attributes[0].value.string_value: p.as_double for p in cpu}
    assert modes == {"user": 3.0, "system": 1.0}
    assert {(p.start_time_unix_nano, p.time_unix_nano) for p in cpu} == {
        (40 * SECOND, 100 * SECOND)
    }
    assert found["process.cpu.time"].sum.aggregation_temporality == 2  # cumulative
    assert found["process.memory.usage"].sum.data_points[0].as_int == 5 << 20
    assert found["process.cpu.utilization"].gauge.data_points[0].as_double == 2 / 10 / 2


def test_what_the_system_does_not_tell_is_left_out() -> None:
    bare = Vitals(at_ns=100, user_s=1.0, system_s=0.0, cpus=1)
    found = encoded(bare, since_ns=30)
    assert set(found) == {"process.cpu.time"}
    assert found["process.cpu.time"].sum.data_points[0].start_time_unix_nano == 30


def test_a_fault_in_it_does_not_end_the_agent(bench: Bench) -> None:
    def broken(name: str, payload: bytes) -> None:
        raise RuntimeError("broken")

    bench.runtime._pulse._send = broken
    bench.offer_connections(ConnectionOffer(b"1", own_metrics=METRICS))
    bench.runtime._pulse._send = bench.pipeline.send_metrics
    bench.wait(10)
    assert len(sent(bench)) == 1
