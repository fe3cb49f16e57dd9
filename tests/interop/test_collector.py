"""A real OpenTelemetry Collector between an observed program and an OTLP sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_observe.testing import OTLPSink, serve_in_thread
from tests.e2e.harness import App
from tests.interop.backends import collector, needs_peers

pytestmark = [pytest.mark.interop, needs_peers]
PROTOCOLS = {"http": "http/protobuf", "grpc": "grpc"}
METRICS = {
    "gen_ai.client.operation.duration",
    "gen_ai.client.operation.time_to_first_chunk",
    "gen_ai.client.operation.time_per_output_chunk",
    "gen_ai.client.token.usage",
}


@pytest.fixture
def sinks() -> Iterator[dict[str, Any]]:
    found = {name: OTLPSink() for name in PROTOCOLS}
    with serve_in_thread(found["http"]) as http, serve_in_thread(found["grpc"]) as grpc:
        yield {"http": (found["http"], http.url), "grpc": (found["grpc"], grpc.url)}


def _points(sink: OTLPSink, name: str) -> int:
    metrics = [metric for metric in sink.metrics() if metric.name == name]
    return sum(point.count for metric in metrics for point in metric.histogram.data_points)


def test_a_collector_takes_traces_and_metrics_over_both_protocols(
    tmp_path: Path, sinks: dict[str, Any], start_app: Callable[..., App]
) -> None:
    urls = {name: url for name, (_, url) in sinks.items()}
    with collector(tmp_path, urls) as endpoints:
        destinations = {
            name: {"endpoint": endpoints[name], "protocol": protocol}
            for name, protocol in PROTOCOLS.items()
        }
        app = start_app(settings={"destinations": destinations, "capture": {"level": "full"}})
        answer = app.ask("turn", "s-1", "What is a collector?")
        app.ask("burst", 20, "again")
        assert app.ask("flush") is True
    for sink, _ in sinks.values():
        spans = sink.spans()
        assert len(spans) == len({span.span_id for span in spans}) == 22
        assert sink.holds("What is a collector?")
        assert sink.holds(answer)
        assert {metric.name for metric in sink.metrics()} == METRICS
        assert _points(sink, "gen_ai.client.operation.duration") == 21
        assert _points(sink, "gen_ai.client.token.usage") == 42
