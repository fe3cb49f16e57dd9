from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import trustme
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import SpanExportResult

from llm_observe.testing import Answer, OTLPGrpcSink, Served, serve_grpc
from tests.testing.test_otlp import a_span, body

DEADLINE_S = 60.0


@pytest.fixture
def sink() -> OTLPGrpcSink:
    return OTLPGrpcSink()


@pytest.fixture
def server(sink: OTLPGrpcSink) -> Iterator[Served]:
    with serve_grpc(sink) as served:
        yield served


@pytest.fixture
def channel(server: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def stub_of(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    return channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")


def export(channel: grpc.Channel, request: bytes = b"") -> bytes:
    return stub_of(channel)(request, timeout=DEADLINE_S)


def failure(channel: grpc.Channel, request: bytes = b"") -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        export(channel, request)
    return caught.value


def test_spans_of_the_real_exporter_arrive_with_their_metadata(
    sink: OTLPGrpcSink, server: Served
) -> None:
    exporter = OTLPSpanExporter(
        endpoint=server.url, headers={"x-key": "k1"}, compression=grpc.Compression.Gzip
    )
    assert exporter.export([a_span("one"), a_span("two")]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert [span.name for span in sink.spans()] == ["one", "two"]
    (request,) = sink.requests("traces")
    assert request.headers["x-key"] == "k1"
    assert sink.holds("canary")
    assert not sink.holds("another")


def test_metrics_of_the_real_exporter_arrive(sink: OTLPGrpcSink, server: Served) -> None:
    exporter = OTLPMetricExporter(endpoint=server.url)
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("calls").add(3)
    provider.shutdown()
    assert [metric.name for metric in sink.metrics()] == ["calls"]
    assert sink.requests("traces") == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(code="UNAVAILABLE"), "UNAVAILABLE"),
        (Answer(status=503), "UNAVAILABLE"),
        (Answer(status=401), "UNAUTHENTICATED"),
        (Answer(status=299, code="DATA_LOSS"), "DATA_LOSS"),
        (Answer(cut=True), "CANCELLED"),
    ],
)
def test_it_refuses_as_it_is_told_and_keeps_none_of_it_as_received(
    sink: OTLPGrpcSink, channel: grpc.Channel, answer: Answer, code: str
) -> None:
    sink.then(answer)
    assert failure(channel, body()).code().name == code
    export(channel, body("two"))
    assert [span.name for span in sink.spans()] == ["two"]
    assert (sink.count, sink.in_flight) == (2, 0)


def test_a_time_to_wait_travels_in_the_details_of_the_status(
    sink: OTLPGrpcSink, channel: grpc.Channel
) -> None:
    sink.answer_with(Answer(status=429, retry_after_s=7))
    error = failure(channel)
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    (detail,) = Status.FromString(details).details
    info = RetryInfo()
    assert detail.Unpack(info)
    assert (error.code().name, info.retry_delay.seconds) == ("RESOURCE_EXHAUSTED", 7)


def test_a_success_may_refuse_a_part(sink: OTLPGrpcSink, channel: grpc.Channel) -> None:
    sink.answer_with(Answer(rejected=2))
    stub = TraceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
    answer = stub.Export(ExportTraceServiceRequest.FromString(body()), timeout=DEADLINE_S)
    assert isinstance(answer, ExportTraceServiceResponse)
    assert answer.partial_success.rejected_spans == 2


def test_what_is_no_request_is_an_invalid_argument(channel: grpc.Channel) -> None:
    assert failure(channel, b"\xff\xff").code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_hanging_call_is_answered_when_it_is_released(
    sink: OTLPGrpcSink, channel: grpc.Channel
) -> None:
    sink.answer_with(Answer(hang=True))
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(export(channel, body())))
    thread.start()
    assert sink.wait_for(lambda: sink.in_flight == 1, DEADLINE_S)
    assert answers == []
    sink.release()
    thread.join(DEADLINE_S)
    assert answers == [b""]


def test_a_hanging_call_is_let_go_when_its_client_leaves(
    sink: OTLPGrpcSink, channel: grpc.Channel
) -> None:
    sink.answer_with(Answer(hang=True))
    pending = stub_of(channel).future(body())
    assert sink.wait_for(lambda: sink.in_flight == 1, DEADLINE_S)
    pending.cancel()
    assert sink.wait_for(lambda: sink.in_flight == 0, DEADLINE_S)
    assert sink.spans() == []
    assert len(sink.requests()) == 1


def test_what_is_too_large_is_refused_by_grpc_itself() -> None:
    sink = OTLPGrpcSink(most_bytes=1000)
    with (
        serve_grpc(sink) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert failure(channel, b"x" * 2000).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert sink.count == 0


def test_it_can_be_served_under_tls() -> None:
    authority = trustme.CA()
    mine = authority.issue_cert("127.0.0.1")
    credentials = grpc.ssl_server_credentials(
        [(mine.private_key_pem.bytes(), mine.cert_chain_pems[0].bytes())]
    )
    sink = OTLPGrpcSink()
    with serve_grpc(sink, credentials=credentials) as server:
        assert server.url.startswith("https://")
        trust = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        with grpc.secure_channel(f"127.0.0.1:{server.port}", trust) as channel:
            export(channel, body("one"))
    assert [span.name for span in sink.spans()] == ["one"]


def test_a_taken_port_is_an_error(server: Served) -> None:
    with pytest.raises(RuntimeError), serve_grpc(OTLPGrpcSink(), port=server.port):
        pass
