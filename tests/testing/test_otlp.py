from __future__ import annotations

import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from llm_observe.testing import Answer, OTLPSink, serve_in_thread
from tests.testing.conftest import Switchboard

TRACES = "/v1/traces"


@pytest.fixture
def sink(switchboard: Switchboard) -> Iterator[OTLPSink]:
    sink = OTLPSink()
    switchboard.app = sink
    yield sink
    sink.release()


@pytest.fixture
def url(switchboard: Switchboard) -> str:
    return switchboard.url


def a_span(name: str = "chat llama") -> ReadableSpan:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    span = tracer.start_span(name, attributes={"prompt": "canary"})
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


def body(name: str = "x") -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add().name = name
    return request.SerializeToString()


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_spans_of_the_real_exporter_arrive(
    sink: OTLPSink, url: str, compression: Compression
) -> None:
    exporter = OTLPSpanExporter(
        endpoint=url + TRACES, headers={"x-key": "k1"}, compression=compression
    )
    assert exporter.export([a_span("one"), a_span("two")]) is SpanExportResult.SUCCESS
    exporter.shutdown()  # type: ignore[no-untyped-call]  # of the SDK
    assert [span.name for span in sink.spans()] == ["one", "two"]
    (request,) = sink.requests(TRACES)
    assert request.headers["x-key"] == "k1"
    assert (request.raw == request.body) is (compression is Compression.NoCompression)
    assert sink.holds("canary")
    assert sink.holds("k1")
    assert not sink.holds("absent")


def test_metrics_of_the_real_exporter_arrive(sink: OTLPSink, url: str) -> None:
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{url}/v1/metrics"))
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("calls").add(3)
    provider.shutdown()
    assert [metric.name for metric in sink.metrics()] == ["calls"]
    assert sink.spans() == []


def test_answers_are_as_told_and_then_standing(sink: OTLPSink, url: str) -> None:
    sink.answer_with(Answer(status=500))
    sink.then(
        Answer(status=307, location="http://127.0.0.1:9/elsewhere"),
        Answer(status=429, retry_after_s=3),
        Answer(),
    )
    answers = [httpx.post(url + TRACES, content=body()) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [307, 429, 200, 500, 500]
    assert answers[0].headers["location"] == "http://127.0.0.1:9/elsewhere"
    assert answers[1].headers["retry-after"] == "3"
    assert sink.count == 5
    assert len(sink.spans()) == 1


def test_a_cut_request_is_recorded_and_not_answered(sink: OTLPSink, url: str) -> None:
    sink.then(Answer(cut=True))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(url + TRACES, content=body())
    assert len(sink.requests()) == 1


def test_a_hanging_request_is_answered_when_it_is_released(sink: OTLPSink, url: str) -> None:
    sink.then(Answer(hang=True))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, url + TRACES, content=body(), timeout=60)
        assert sink.wait_for(lambda: sink.count == 1)
        assert sink.in_flight == 1
        assert not answer.done()
        sink.release()
        assert answer.result(60).status_code == 200
    assert sink.wait_for(lambda: sink.in_flight == 0)


def test_a_hanging_request_ends_when_its_client_leaves(sink: OTLPSink, url: str) -> None:
    sink.then(Answer(hang=True))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url + TRACES, content=body(), timeout=0.1)
    assert sink.wait_for(lambda: sink.count == 1 and sink.in_flight == 0)


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"\xff\xff no protobuf", {}),
        (b"no gzip", {"content-encoding": "gzip"}),
        (body(), {"content-encoding": "br"}),
    ],
)
def test_what_is_no_otlp_is_recorded_and_refused(
    sink: OTLPSink, url: str, content: bytes, headers: dict[str, str]
) -> None:
    assert httpx.post(url + TRACES, content=content, headers=headers).status_code == 400
    (request,) = sink.requests()
    assert (request.raw, request.message) == (content, None)


def test_other_paths_and_methods_are_404(sink: OTLPSink, url: str) -> None:
    assert httpx.post(f"{url}/v1/logs", content=b"").status_code == 404
    assert httpx.get(url + TRACES).status_code == 404
    assert sink.requests() == []


def test_bodies_are_bounded_before_and_after_decompression() -> None:
    sink = OTLPSink(most_bytes=10_000)
    bomb = gzip.compress(bytes(1_000_000))
    with serve_in_thread(sink) as server:
        large = httpx.post(server.url + TRACES, content=bytes(10_001))
        packed = httpx.post(server.url + TRACES, content=bomb, headers={"content-encoding": "gzip"})
    assert (large.status_code, packed.status_code) == (413, 400)


def test_the_oldest_requests_are_forgotten_and_the_count_goes_on() -> None:
    sink = OTLPSink(limit=2)
    with serve_in_thread(sink) as server:
        for number in range(3):
            httpx.post(server.url + TRACES, content=body(f"s{number}"))
    assert [span.name for span in sink.spans()] == ["s1", "s2"]
    assert sink.count == 3
    sink.clear()
    assert (sink.requests(), sink.count) == ([], 3)


def test_waiting_ends_when_the_time_is_over() -> None:
    assert OTLPSink().wait_for(lambda: False, timeout_s=0.0) is False
