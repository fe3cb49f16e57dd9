from __future__ import annotations

import asyncio
import gzip
import json
import socket
import sqlite3
import threading
import zlib
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from google.protobuf.json_format import MessageToJson
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from llm_observe.control.intake import Headers, IntakeApp, IntakeLimits
from llm_observe.spanstore.model import SeriesQuery
from llm_observe.spanstore.sqlite import SpanStore
from tests.spanstore.build import (
    JSON,
    PROTOBUF,
    llm,
    metrics_request,
    otlp_json,
    request,
    rows,
    span,
)
from tests.spanstore.test_points import histogram, number

pytestmark = pytest.mark.anyio

TOKEN = "Bearer ingest-token"
SMALL = IntakeLimits(body_bytes=20_000, unpacked_bytes=50_000, read_s=0.2)


async def authorize(headers: Headers) -> int | None:
    return {TOKEN: None, "Bearer admin": 403}.get(headers.get("authorization", ""), 401)


class Setting:
    """An intake over a new store, and a client of it."""

    def __init__(self, path: Path, limits: IntakeLimits = SMALL, **more: Any) -> None:
        self.store = SpanStore(path, **more)
        self.reader = self.store.reader()
        self.commits = 0
        self.app = IntakeApp(self.store, authorize, self.committed, limits)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app),
            base_url="http://intake",
            headers={"authorization": TOKEN},
        )

    def committed(self) -> None:
        self.commits += 1

    async def post(
        self, path: str, body: bytes, content_type: str, **headers: str
    ) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            path, content=body, headers={"content-type": content_type, **named}
        )

    async def close(self) -> None:
        await self.client.aclose()
        self.reader.close()
        self.store.close()


@pytest.fixture
async def intake(tmp_path: Path) -> AsyncIterator[Setting]:
    made = Setting(tmp_path / "spans.db")
    yield made
    await made.close()


BODY = request(llm(), llm()).SerializeToString()


async def test_spans_are_there_when_200_is_said(intake: Setting) -> None:
    answer = await intake.post("/v1/traces", BODY, PROTOBUF)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == PROTOBUF
    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()
    assert intake.reader.stats().spans == 2
    assert intake.commits == 1


async def test_json_is_answered_in_json(intake: Setting) -> None:
    body = json.dumps(otlp_json(request(llm()))).encode()
    answer = await intake.post("/v1/traces", body, f"{JSON}; charset=utf-8")
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert answer.json() == {}
    assert intake.reader.stats().spans == 1


async def test_metrics_are_taken_in_both_encodings(intake: Setting) -> None:
    sent = metrics_request(histogram([1, 2], [1, 0, 2]))
    answer = await intake.post("/v1/metrics", sent.SerializeToString(), PROTOBUF)
    assert (
        ExportMetricsServiceResponse.FromString(answer.content).partial_success.error_message == ""
    )
    sent.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[
        0
    ].time_unix_nano += 1
    answer = await intake.post("/v1/metrics", MessageToJson(sent).encode(), JSON)
    assert answer.json() == {}
    start = 1_790_000_000
    (line,) = intake.reader.series(SeriesQuery("calls", start, start + 10, 10))
    assert line.points[0].count == 6


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", lambda body: zlib.compress(body)),
        ("identity", bytes),
        ("gzip", lambda body: gzip.compress(body[:50]) + gzip.compress(body[50:])),
    ],
)
async def test_packed_bodies_are_unpacked(intake: Setting, encoding: str, pack: Any) -> None:
    answer = await intake.post("/v1/traces", pack(BODY), PROTOBUF, content_encoding=encoding)
    assert answer.status_code == 200
    assert intake.reader.stats().spans == 2


async def test_refused_rows_are_counted_and_the_others_stored(intake: Setting) -> None:
    bad = span()
    bad.trace_id = b"short"
    body = request(llm(), bad).SerializeToString()
    answer = await intake.post("/v1/traces", body, PROTOBUF)
    said = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, said.rejected_spans) == (200, 1)
    assert "trace id" in said.error_message
    mixed = metrics_request(histogram([2, 1], [1, 1, 1]), number("gauge", 1.0))
    answer = await intake.post("/v1/metrics", MessageToJson(mixed).encode(), JSON)
    assert answer.json()["partialSuccess"]["rejectedDataPoints"] == "1"


async def test_an_empty_request_is_fine(intake: Setting) -> None:
    assert (await intake.post("/v1/traces", b"", PROTOBUF)).status_code == 200
    assert (await intake.post("/v1/metrics", b"{}", JSON)).status_code == 200
    assert intake.commits == 0


async def test_a_repeated_request_is_acknowledged_and_stored_once(intake: Setting) -> None:
    for _ in range(2):
        assert (await intake.post("/v1/traces", BODY, PROTOBUF)).status_code == 200
    assert intake.reader.stats().spans == 2
    assert intake.commits == 1


@pytest.mark.parametrize(
    ("token", "status"), [("", 401), ("Bearer wrong", 401), ("Bearer admin", 403)]
)
async def test_without_the_right_token_nothing_is_read(
    intake: Setting, token: str, status: int
) -> None:
    taken: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        taken.append(BODY)
        yield BODY

    answer = await intake.client.post(
        "/v1/traces", content=body(), headers={"authorization": token, "content-type": PROTOBUF}
    )
    assert answer.status_code == status
    assert Status.FromString(answer.content).message
    assert taken == []
    assert intake.reader.stats().spans == 0


@pytest.mark.parametrize(
    ("method", "path", "content_type", "encoding", "status"),
    [
        ("POST", "/v1/logs", PROTOBUF, "", 404),
        ("GET", "/v1/traces", PROTOBUF, "", 405),
        ("POST", "/v1/traces", "text/plain", "", 415),
        ("POST", "/v1/traces", "", "", 415),
        ("POST", "/v1/traces", PROTOBUF, "br", 415),
    ],
)
async def test_what_is_no_otlp_request_is_refused(
    intake: Setting, method: str, path: str, content_type: str, encoding: str, status: int
) -> None:
    headers = {"content-type": content_type, "content-encoding": encoding}
    answer = await intake.client.request(method, path, content=BODY, headers=headers)
    assert answer.status_code == status
    assert Status.FromString(answer.content).code != 0


@pytest.mark.parametrize(
    ("body", "content_type", "encoding"),
    [
        (b"\xff\xff", PROTOBUF, ""),
        (b"{", JSON, ""),
        (b"[]", JSON, ""),
        (b"not gzip", PROTOBUF, "gzip"),
        (gzip.compress(BODY)[:-10], PROTOBUF, "gzip"),
        (gzip.compress(BODY) + b"rubbish", PROTOBUF, "gzip"),
    ],
)
async def test_a_malformed_body_is_a_400_with_a_status(
    intake: Setting, body: bytes, content_type: str, encoding: str
) -> None:
    answer = await intake.post("/v1/traces", body, content_type, content_encoding=encoding)
    assert (answer.status_code, answer.headers["content-type"]) == (400, content_type)
    said = answer.json()["message"] if content_type == JSON else Status.FromString(answer.content)
    assert str(said)
    assert intake.reader.stats().spans == 0


async def test_a_body_beyond_the_limit_is_a_413(intake: Setting) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000
        pytest.fail("the body was read to its end")

    announced = await intake.post("/v1/traces", b"x" * 20_001, PROTOBUF)
    streamed = await intake.client.post(
        "/v1/traces", content=endless(), headers={"content-type": PROTOBUF}
    )
    assert (announced.status_code, streamed.status_code) == (413, 413)


async def test_a_bomb_is_a_413_before_it_is_unpacked(intake: Setting) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    assert len(bomb) < SMALL.body_bytes
    answer = await intake.post("/v1/traces", bomb, PROTOBUF, content_encoding="gzip")
    assert answer.status_code == 413
    members = gzip.compress(bytes(1000)) * 100
    answer = await intake.post("/v1/traces", members, PROTOBUF, content_encoding="gzip")
    assert answer.status_code == 413


async def test_a_body_that_does_not_come_is_given_up(intake: Setting) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(60)

    answer = await intake.client.post(
        "/v1/traces", content=stalled(), headers={"content-type": PROTOBUF}
    )
    assert answer.status_code == 408


async def test_a_busy_store_is_a_503_that_says_when_to_come_again(tmp_path: Path) -> None:
    intake = Setting(tmp_path / "spans.db", max_pending_bytes=1000)
    blocker = sqlite3.connect(intake.store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    waiting = intake.store.append(rows(llm("x" * 2000)), [])
    answer = await intake.post("/v1/traces", BODY, PROTOBUF)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert Status.FromString(answer.content).code == 14
    blocker.execute("ROLLBACK")
    blocker.close()
    await asyncio.wrap_future(waiting)
    assert (await intake.post("/v1/traces", BODY, PROTOBUF)).status_code == 200
    await intake.close()


async def test_a_commit_that_takes_too_long_is_a_503_and_is_repeated_without_harm(
    tmp_path: Path,
) -> None:
    intake = Setting(tmp_path / "spans.db", IntakeLimits(commit_s=0.2))
    blocker = sqlite3.connect(intake.store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    assert (await intake.post("/v1/traces", BODY, PROTOBUF)).status_code == 503
    blocker.execute("ROLLBACK")
    blocker.close()
    await asyncio.wrap_future(intake.store.append(rows(llm()), []))
    assert (await intake.post("/v1/traces", BODY, PROTOBUF)).status_code == 200
    assert intake.reader.stats().spans == 3
    await intake.close()


async def test_a_closed_store_is_a_503(intake: Setting) -> None:
    intake.store.close()
    answer = await intake.post("/v1/traces", BODY, PROTOBUF)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_bodies_held_at_one_time_are_bounded_and_given_back(tmp_path: Path) -> None:
    intake = Setting(tmp_path / "spans.db", IntakeLimits(held_bytes=len(BODY) + 10))
    blocker = sqlite3.connect(intake.store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    first = asyncio.create_task(intake.post("/v1/traces", BODY, PROTOBUF))
    refused = False
    for _ in range(200):
        await asyncio.sleep(0)
        if intake.app._held:
            refused = (await intake.post("/v1/traces", BODY, PROTOBUF)).status_code == 503
            break
    assert refused
    blocker.execute("ROLLBACK")
    blocker.close()
    assert (await first).status_code == 200
    assert (await intake.post("/v1/traces", BODY, PROTOBUF)).status_code == 200
    assert (await intake.post("/v1/traces", b"\xff", PROTOBUF)).status_code == 400
    assert intake.app._held == 0
    await intake.close()


async def test_a_sender_that_goes_away_is_no_error(intake: Setting) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", PROTOBUF.encode()), (b"authorization", TOKEN.encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/traces", "headers": headers}
    await intake.app(scope, receive, send)
    assert sent == []
    assert intake.app._held == 0


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=300),
    content_type=st.sampled_from([PROTOBUF, JSON, "x", ""]),
    encoding=st.sampled_from(["", "gzip", "deflate", "identity", "zstd"]),
    path=st.sampled_from(["/v1/traces", "/v1/metrics", "/v1", "/"]),
)
def test_whatever_is_posted_gets_an_answer(
    tmp_path_factory: pytest.TempPathFactory,
    body: bytes,
    content_type: str,
    encoding: str,
    path: str,
) -> None:
    async def ask() -> int:
        intake = Setting(tmp_path_factory.mktemp("intake") / "spans.db")
        answer = await intake.post(path, body, content_type, content_encoding=encoding)
        await intake.close()
        return answer.status_code

    assert asyncio.run(ask()) in {200, 400, 404, 413, 415}


@contextmanager
def served(app: IntakeApp) -> Iterator[str]:
    """The app on a free port of the loopback, by a real server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_exporters_of_opentelemetry_are_served(
    tmp_path: Path, compression: Compression
) -> None:
    store = SpanStore(tmp_path / "spans.db")
    reader = store.reader()
    resource = Resource.create({"service.name": "exported"})
    headers = {"authorization": TOKEN}
    with served(IntakeApp(store, authorize, lambda: None)) as url:
        tracing = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(f"{url}/v1/traces", headers=headers, compression=compression)
        tracing.add_span_processor(SimpleSpanProcessor(exporter))
        with tracing.get_tracer("t").start_as_current_span("turn"):
            call = tracing.get_tracer("t").start_span("chat llama")
            call.set_attributes({"openinference.span.kind": "LLM", "llm.model_name": "llama"})
            call.end()
        tracing.shutdown()
        metering = MeterProvider(
            [
                PeriodicExportingMetricReader(
                    OTLPMetricExporter(
                        f"{url}/v1/metrics",
                        headers=headers,
                        compression=compression,
                        preferred_temporality={Histogram: AggregationTemporality.DELTA},
                    )
                )
            ],
            resource,
        )
        durations = metering.get_meter("t").create_histogram(
            "gen_ai.client.operation.duration", "s"
        )
        for seconds in (1, 2, 3):
            durations.record(seconds, {"gen_ai.request.model": "llama"})
        metering.shutdown()
    (summary,) = reader.traces().items
    assert (summary.name, summary.service, summary.model) == ("turn", "exported", "llama")
    assert summary.spans == 2
    (line,) = reader.series(SeriesQuery("calls", summary.start - 600, summary.start + 600, 60))
    assert sum(point.count for point in line.points) == 3
    reader.close()
    store.close()
