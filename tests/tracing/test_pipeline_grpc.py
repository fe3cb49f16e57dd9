"""The pipeline with destinations over gRPC, alone and beside HTTP: the same promises."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from llm_observe.settings.model import CaptureLevel, Destination, Settings
from llm_observe.testing import Answer, OTLPGrpcSink, Served, serve_grpc
from llm_observe.tracing.gate import gate
from tests.tracing.export.drive import (
    CANARY,
    PATIENCE_S,
    attributes,
    make_call,
    record,
    running_pipeline,
    settings,
    span_id,
)
from tests.tracing.export.sink import Reply, Sink, running_sink
from tests.tracing.export.wiretap import tapping

METADATA = CaptureLevel.METADATA


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


@pytest.fixture
def receiver() -> OTLPGrpcSink:
    return OTLPGrpcSink()


@pytest.fixture
def server(receiver: OTLPGrpcSink) -> Iterator[Served]:
    with serve_grpc(receiver) as served:
        yield served


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    before = gate.count
    yield
    assert gate.count == before, gate.last


def over_grpc(url: str, base: Settings | None = None, **known: Any) -> Settings:
    """Settings whose destination ``a`` is reached over gRPC."""
    base = base or settings()
    a = Destination(endpoint=url, protocol="grpc", **known)
    return replace(base, destinations={**base.destinations, "a": a})


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def arrived(receiver: OTLPGrpcSink) -> Counter[bytes]:
    return Counter(span.span_id for span in receiver.spans())


def test_spans_and_metrics_arrive_and_are_counted(receiver: OTLPGrpcSink, server: Served) -> None:
    with running_pipeline(over_grpc(server.url)) as pipeline:
        ids = [span_id(record(pipeline, make_call(input_tokens=1))) for _ in range(10)]
        assert pipeline.flush(PATIENCE_S)
        status = pipeline.status().destinations["a"]
    assert arrived(receiver) == Counter(ids)
    names = {metric.name for metric in receiver.metrics()}
    assert names == {"gen_ai.client.operation.duration", "gen_ai.client.token.usage"}
    assert (status.sent, status.failed, status.queued, status.dropped) == (10, 0, 0, 0)
    assert (status.metrics.sent, status.protocol, status.healthy) == (1, "grpc", True)


def test_headers_travel_as_metadata_and_are_read_when_they_are_needed(
    receiver: OTLPGrpcSink, server: Served
) -> None:
    environ = {"TOKEN": "one"}
    begin = over_grpc(server.url, headers={"X-Key": "env:TOKEN"}, signals=("traces",))
    with running_pipeline(begin, environ) as pipeline:
        for token in ("one", "two"):
            environ["TOKEN"] = token
            record(pipeline)
            assert pipeline.flush(PATIENCE_S)
    assert [request.headers["x-key"] for request in receiver.requests()] == ["one", "two"]


def test_several_destinations_with_several_protocols_each_get_everything(
    receiver: OTLPGrpcSink, server: Served, sink: Sink
) -> None:
    with serve_grpc(OTLPGrpcSink()) as gone:
        pass
    begin = over_grpc(server.url, settings(b=sink.url))
    dead = Destination(endpoint=gone.url, protocol="grpc")
    begin = replace(begin, destinations={**begin.destinations, "dead": dead})
    with running_pipeline(begin) as pipeline:
        ids = {span_id(record(pipeline)) for _ in range(10)}
        wait_for(lambda: pipeline.status().destinations["a"].sent == 10)
        wait_for(lambda: pipeline.status().destinations["b"].sent == 10)
        wait_for(lambda: pipeline.status().destinations["dead"].last_error)
        dead_status = pipeline.status().destinations["dead"]
    assert set(arrived(receiver)) == set(sink.accepted) == ids
    assert dead_status.last_error == "gRPC UNAVAILABLE: connection refused"
    assert (dead_status.queued, dead_status.healthy) == (10, False)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "ABORTED", "UNAUTHENTICATED", "INTERNAL"])
def test_what_may_get_better_is_tried_again(
    receiver: OTLPGrpcSink, server: Served, code: str
) -> None:
    receiver.then(*[Answer(code=code)] * 3)
    with running_pipeline(over_grpc(server.url, signals=("traces",))) as pipeline:
        ids = Counter([span_id(record(pipeline)) for _ in range(5)])
        assert pipeline.flush(PATIENCE_S)
        status = pipeline.status().destinations["a"]
    assert arrived(receiver) == ids
    assert (status.sent, status.failed, status.last_error) == (5, 0, f"gRPC {code}")


def test_a_time_to_wait_is_kept(receiver: OTLPGrpcSink, server: Served) -> None:
    receiver.then(Answer(status=429, retry_after_s=1))
    with running_pipeline(over_grpc(server.url, signals=("traces",))) as pipeline:
        record(pipeline)
        assert receiver.wait_for(lambda: receiver.count == 1, PATIENCE_S)
        first = time.monotonic()
        assert receiver.wait_for(lambda: receiver.count == 2, PATIENCE_S)
        assert time.monotonic() - first > 0.5


def test_a_batch_that_is_refused_for_good_is_counted_and_does_not_block(
    receiver: OTLPGrpcSink, server: Served
) -> None:
    receiver.then(Answer(code="INVALID_ARGUMENT"))
    with running_pipeline(over_grpc(server.url, signals=("traces",))) as pipeline:
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        kept = span_id(record(pipeline))
        assert pipeline.flush(PATIENCE_S)
        status = pipeline.status().destinations["a"]
    assert (status.sent, status.failed) == (1, 1)
    assert set(arrived(receiver)) == {kept}


def test_a_partial_success_is_counted(receiver: OTLPGrpcSink, server: Served) -> None:
    receiver.answer_with(Answer(rejected=2))
    with running_pipeline(over_grpc(server.url, signals=("traces",)), delay_s=3600.0) as pipeline:
        for _ in range(5):
            record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        status = pipeline.status().destinations["a"]
    assert (status.sent, status.failed) == (3, 2)
    assert status.last_error == "2 of 5 refused (partial success)"


def test_what_is_too_large_for_the_server_is_sent_in_parts() -> None:
    receiver = OTLPGrpcSink(most_bytes=20_000)
    with (
        serve_grpc(receiver) as server,
        running_pipeline(over_grpc(server.url, signals=("traces",)), delay_s=3600.0) as pipeline,
    ):
        ids = Counter([span_id(record(pipeline, make_call("x" * 2000))) for _ in range(16)])
        assert pipeline.flush(PATIENCE_S)
        assert arrived(receiver) == ids
        record(pipeline, make_call("x" * 30_000))  # alone too large: given up, and counted
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.status().destinations["a"].failed == 1


class WithoutMetrics(OTLPGrpcSink):
    def handlers(self) -> Any:
        return super().handlers()[:1]


def test_a_server_without_metrics_keeps_its_spans_and_says_so() -> None:
    receiver = WithoutMetrics()
    with serve_grpc(receiver) as server, running_pipeline(over_grpc(server.url)) as pipeline:
        for _ in range(2):
            record(pipeline)
            assert pipeline.flush(PATIENCE_S)
        status = pipeline.status().destinations["a"]
    assert (status.traces.sent, status.traces.state) == (2, "on")
    assert (status.metrics.failed, status.metrics.state) == (1, "gRPC UNIMPLEMENTED")
    assert status.healthy


def test_each_signal_has_counts_and_errors_of_its_own(sink: Sink) -> None:
    sink.replies["/v1/metrics"] = Reply(503)
    with running_pipeline(settings(a=sink.url)) as pipeline:
        record(pipeline)
        assert not pipeline.flush(1.0)
        status = pipeline.status().destinations["a"]
    assert (status.traces.sent, status.traces.last_error, status.traces.healthy) == (1, "", True)
    assert (status.metrics.sent, status.metrics.queued) == (0, 1)
    assert status.metrics.last_error == "HTTP 503 Service Unavailable"
    assert status.last_error == status.metrics.last_error
    assert not status.metrics.healthy


def test_the_application_never_waits_for_a_server_that_hangs(
    receiver: OTLPGrpcSink, server: Served
) -> None:
    receiver.answer_with(Answer(hang=True))
    begin = over_grpc(server.url, timeout_s=100.0)
    with running_pipeline(begin) as pipeline:
        record(pipeline)
        assert receiver.wait_for(lambda: receiver.in_flight == 1, PATIENCE_S)
        before = time.monotonic()
        for _ in range(100):
            record(pipeline)
        assert time.monotonic() - before < PATIENCE_S
    assert receiver.wait_for(lambda: receiver.in_flight == 0, PATIENCE_S)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sockets are found on Linux only")
def test_bytes_that_nobody_takes_are_given_up_at_the_time_limit(server: Served) -> None:
    """gRPC itself would wait for the socket, past the limit of the call."""
    with tapping(server.port, deaf_after=1000) as tap:
        begin = over_grpc(tap.url, signals=("traces",), timeout_s=0.5, compression="none")
        with running_pipeline(begin) as pipeline:
            record(pipeline)
            assert pipeline.flush(PATIENCE_S)
            for _ in range(8):
                record(pipeline, make_call("x" * 200_000))
            assert tap.deaf.wait(PATIENCE_S)
            wait_for(lambda: pipeline.status().destinations["a"].last_error)
            status = pipeline.status().destinations["a"]
            tap.resume.set()
    assert status.last_error.endswith("no answer within 0.5 s")
    assert status.queued > 0


# -- changing while it runs ----------------------------------------------------------------------


@pytest.mark.parametrize("hanging", [False, True])
def test_nothing_is_lost_on_the_way_from_http_to_grpc_and_back(
    receiver: OTLPGrpcSink, server: Served, sink: Sink, hanging: bool
) -> None:
    if hanging:
        sink.script = [Reply(hang=True)]
        receiver.then(Answer(), Answer(hang=True))  # the first is the probe's
    http, grpc = settings(a=sink.url, timeout_s=100.0), over_grpc(server.url, timeout_s=100.0)
    spans: list[bytes] = []
    stopped = threading.Event()

    def produce(pipeline: Any) -> None:
        while not stopped.is_set():
            spans.append(span_id(record(pipeline)))
            time.sleep(0.001)

    with running_pipeline(http) as pipeline:
        producer = threading.Thread(target=produce, args=(pipeline,))
        producer.start()
        sink.wait(1)
        assert pipeline.apply(grpc, "hash-1").problems == ()
        assert receiver.wait_for(lambda: receiver.count > 1, PATIENCE_S)
        assert pipeline.apply(http, "hash-2").problems == ()
        had = len(sink.requests)
        wait_for(lambda: len(sink.requests) > had)
        stopped.set()
        producer.join(PATIENCE_S)
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.status().destinations["a"].dropped == 0
    assert set(sink.accepted) | set(arrived(receiver)) == set(spans)
    assert hanging or set(arrived(receiver))


def test_a_server_that_does_not_answer_is_refused_before_it_replaces_anything(
    receiver: OTLPGrpcSink, server: Served, sink: Sink
) -> None:
    with serve_grpc(OTLPGrpcSink()) as gone:
        pass
    begin = settings(a=sink.url)
    with running_pipeline(begin) as pipeline:
        applied = pipeline.apply(over_grpc(gone.url), "hash-1")
        (problem,) = applied.problems
        assert problem.path == "destinations.a.endpoint"
        assert problem.found == f"{gone.url}: gRPC UNAVAILABLE: connection refused"
        assert applied.settings == begin
        receiver.answer_with(Answer(code="UNAUTHENTICATED"))
        (problem,) = pipeline.apply(over_grpc(server.url), "hash-1").problems
        assert problem.found == f"{server.url}: gRPC UNAUTHENTICATED"
        (problem,) = pipeline.apply(over_grpc(sink.url), "hash-1").problems
        assert "does not speak gRPC" in problem.found
        receiver.answer_with(Answer(status=429, retry_after_s=1))
        assert pipeline.apply(over_grpc(server.url), "hash-1").problems == ()
        receiver.answer_with(Answer())
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
    assert receiver.spans()


def test_a_header_that_grpc_does_not_have_is_named(server: Served) -> None:
    with running_pipeline(settings(), {"GOOD": "x"}) as pipeline:
        bad = over_grpc(server.url, headers={"x-bin": "env:GOOD"})
        (problem,) = pipeline.apply(bad, "hash-1").problems
    assert problem.path == "destinations.a.headers.x-bin"


def test_a_tighter_level_ends_a_call_that_hangs_and_sends_it_again_without_content(
    receiver: OTLPGrpcSink, server: Served
) -> None:
    receiver.then(Answer(hang=True))
    begin = over_grpc(server.url, timeout_s=100.0, signals=("traces",))
    with running_pipeline(begin) as pipeline:
        span = record(pipeline)
        assert receiver.wait_for(lambda: receiver.in_flight == 1, PATIENCE_S)
        tighter = replace(begin, capture=replace(begin.capture, level=METADATA))
        assert pipeline.apply(tighter, "hash-1").problems == ()
        assert receiver.wait_for(lambda: receiver.in_flight == 0, PATIENCE_S)
        assert pipeline.flush(PATIENCE_S)
    (sent,) = receiver.spans()[-1:]
    assert sent.span_id == span_id(span)
    assert CANARY.encode() not in receiver.requests()[-1].body


def test_a_destination_that_is_removed_gets_nothing_more(
    receiver: OTLPGrpcSink, server: Served
) -> None:
    receiver.answer_with(Answer(hang=True))
    with running_pipeline(over_grpc(server.url, timeout_s=100.0)) as pipeline:
        record(pipeline)
        assert receiver.wait_for(lambda: receiver.in_flight == 1, PATIENCE_S)
        assert pipeline.apply(settings(), "hash-1").problems == ()
        assert receiver.wait_for(lambda: receiver.in_flight == 0, PATIENCE_S)
        count = receiver.count
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        assert receiver.count == count


def test_the_generation_of_names_follows_while_the_program_runs(
    receiver: OTLPGrpcSink, server: Served
) -> None:
    begin = over_grpc(server.url)
    older = replace(begin, conventions=replace(begin.conventions, genai="1.36"))
    with running_pipeline(begin, delay_s=3600.0) as pipeline:
        record(pipeline)
        assert pipeline.apply(older, "hash-1").problems == ()
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.apply(begin, "hash-2").problems == ()
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
    first, second = (request.message for request in receiver.requests("traces"))
    for message, version, key in (
        (first, "1.36", "gen_ai.system"),
        (second, "1.41", "gen_ai.provider.name"),
    ):
        (scope,) = message.resource_spans[0].scope_spans  # type: ignore[union-attr]  # of traces
        found = attributes(scope.spans[0])
        assert scope.schema_url == f"https://opentelemetry.io/schemas/{version}.0"
        assert found[key] == "replicate"
        assert {"gen_ai.system", "gen_ai.provider.name"} & found.keys() == {key}
        assert found["llm.provider"] == "replicate"
        assert CANARY in found["input.value"]


# -- forks and loading ---------------------------------------------------------------------------

FORKING = """
import os, sys, time
from opentelemetry.sdk.resources import Resource
from tests.tracing.test_pipeline_grpc import over_grpc
from tests.tracing.export.drive import QUICK, make_call, record
from llm_observe.tracing.export.bounds import Bounds
from llm_observe.tracing.pipeline import Pipeline

url, hanging = sys.argv[1], sys.argv[2] == "hanging"
pipeline = Pipeline(Resource({}), over_grpc(url), bounds=Bounds(**QUICK))
for number in range(3):
    record(pipeline, make_call("parent"))
if hanging:
    while not pipeline.status().destinations["a"].queued: time.sleep(0.01)
    time.sleep(0.3)
else:
    assert pipeline.flush(20)
child = os.fork()
if child == 0:
    pipeline.after_fork_in_child(Resource({}))
    for number in range(3):
        record(pipeline, make_call("child"))
    ok = pipeline.flush(20)
    pipeline.shutdown()
    sys.exit(0 if ok else 1)
status = os.waitpid(child, 0)[1]
assert status == 0, status
for number in range(3):
    record(pipeline, make_call("parent"))
if not hanging:
    assert pipeline.flush(20)
pipeline.shutdown(1.0)
"""


@pytest.mark.parametrize("state", ["idle", "hanging"])
def test_a_forked_child_has_channels_of_its_own(
    receiver: OTLPGrpcSink, server: Served, state: str
) -> None:
    if state == "hanging":
        receiver.then(Answer(hang=True))
    done = subprocess.run(
        [sys.executable, "-c", FORKING, server.url, state],
        env={**os.environ, "GRPC_VERBOSITY": "ERROR"},
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = [attributes(span)["input.value"] for span in receiver.spans()]
    assert said.count("ask child") == 3
    if state == "idle":
        assert said.count("ask parent") == 6
        assert len({request.peer for request in receiver.requests()}) == 2


def test_without_fork_support_a_child_says_so_and_goes_on(
    receiver: OTLPGrpcSink, server: Served
) -> None:
    program = FORKING.replace(
        "ok = pipeline.flush(20)",
        "pipeline.flush(0.5); ok = 'does not survive a fork' in pipeline.status().destinations['a'].last_error",
    )
    done = subprocess.run(
        [sys.executable, "-c", program, server.url, "idle"],
        env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_grpc_is_loaded_only_where_a_destination_wants_it(sink: Sink) -> None:
    program = """
import sys
from opentelemetry.sdk.resources import Resource
from tests.tracing.export.drive import make_call, record, settings
from llm_observe.tracing.pipeline import Pipeline
pipeline = Pipeline(Resource({}), settings(a=sys.argv[1]))
record(pipeline, make_call())
assert pipeline.flush(20)
pipeline.shutdown()
assert "grpc" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program, sink.url],
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sink.spans
