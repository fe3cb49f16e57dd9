"""The pipeline as its callers see it, over real connections."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode, get_current_span, use_span

from llm_observe.settings.layers import active_destinations
from llm_observe.settings.model import Capture, CaptureLevel
from llm_observe.tracing.applying import tightened
from llm_observe.tracing.call import Call
from llm_observe.tracing.export.quiet import quiet
from llm_observe.tracing.gate import gate
from llm_observe.version import __version__
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

FULL, METADATA, OFF = CaptureLevel.FULL, CaptureLevel.METADATA, CaptureLevel.OFF


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


@pytest.fixture
def other() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    before = gate.count
    yield
    assert gate.count == before, gate.last


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


# -- recording -----------------------------------------------------------------------------


def test_a_call_arrives_as_one_span_with_both_conventions_and_the_settings_hash(
    sink: Sink,
) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        span = record(pipeline, make_call(output_tokens=7))
        assert pipeline.flush(PATIENCE_S)
    (sent,) = sink.spans
    found = attributes(sent)
    assert sent.span_id == span_id(span)
    assert sent.name == "chat meta/llama-2-7b-chat"
    assert found["gen_ai.usage.output_tokens"] == found["llm.token_count.completion"] == 7
    assert found["llm_observe.config.hash"] == "hash-0"
    assert found["llm_observe.capture.level"] == "full"
    assert CANARY in found["input.value"]


def test_the_scope_says_which_version_recorded(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        span = record(pipeline, make_call())
        assert pipeline.flush(PATIENCE_S)
    scope = getattr(span, "instrumentation_scope", None)
    assert scope is not None
    assert (scope.name, scope.version) == ("llm_observe.calls", __version__)


def test_a_failed_call_has_the_error_status_and_its_type(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url, level=METADATA)) as pipeline:
        record(pipeline, make_call(error_type="ModelError", error_message=f"no {CANARY}"))
        assert pipeline.flush(PATIENCE_S)
    (sent,) = sink.spans
    assert sent.status.code == StatusCode.ERROR.value
    assert sent.status.message == "ModelError"
    assert CANARY.encode() not in sink.bytes


def test_spans_of_other_instrumentors_are_scrubbed_and_stamped(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url, level=METADATA)) as pipeline:
        tracer = pipeline.tracer_provider.get_tracer("openinference.instrumentation.x")
        with tracer.start_as_current_span("ask") as span:
            span.set_attribute("openinference.span.kind", "LLM")
            span.set_attribute("input.value", CANARY)
            span.set_attribute("llm.model_name", "llama")
            span.add_event("exception", {"exception.message": CANARY})
            span.set_status(Status(StatusCode.ERROR, CANARY))
        assert pipeline.flush(PATIENCE_S)
    (sent,) = sink.spans
    assert attributes(sent)["llm.model_name"] == "llama"
    assert attributes(sent)["llm_observe.config.hash"] == "hash-0"
    assert sent.status.code == StatusCode.ERROR.value
    assert CANARY.encode() not in sink.bytes


def test_a_call_is_a_child_of_the_span_around_it(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        tracer = pipeline.tracer_provider.get_tracer("app")
        with tracer.start_as_current_span("chain") as outer:
            inner = record(pipeline)
        assert pipeline.flush(PATIENCE_S)
    parents = {span.span_id: span.parent_span_id for span in sink.spans}
    assert parents == {span_id(outer): b"", span_id(inner): span_id(outer)}


def test_what_happens_inside_a_call_finds_its_span(sink: Sink) -> None:
    """An HTTP instrumentor makes children of the current span, and hooks write to it."""
    with running_pipeline(settings(a=sink.url)) as pipeline:
        call = make_call()
        span = pipeline.start(call)
        with use_span(span):
            get_current_span().set_attribute("app.tier", "gold")
            pipeline.tracer_provider.get_tracer("http").start_span("POST").end()
        call.end_ns = call.now()
        pipeline.finish(span, call)
        get_current_span().set_attribute("app.tier", "too late")
        assert pipeline.flush(PATIENCE_S)
    found = {sent.name: sent for sent in sink.spans}
    ours = found["chat meta/llama-2-7b-chat"]
    assert found["POST"].parent_span_id == ours.span_id
    assert found["POST"].trace_id == ours.trace_id
    assert attributes(ours)["app.tier"] == "gold"


def test_a_metric_points_at_the_span_of_its_call(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        span = record(pipeline)
        assert pipeline.flush(PATIENCE_S)
    (point,) = [point for name, point in sink.metrics if name.endswith("operation.duration")]
    (exemplar,) = point.exemplars
    assert exemplar.span_id == span_id(span)
    assert exemplar.trace_id == span.get_span_context().trace_id.to_bytes(16, "big")


def test_a_processor_of_the_apps_own_gets_our_calls_and_so_do_we(sink: Sink) -> None:
    kept = InMemorySpanExporter()
    with running_pipeline(settings(a=sink.url)) as pipeline:
        pipeline.tracer_provider.add_span_processor(SimpleSpanProcessor(kept))
        span = record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        (theirs,) = kept.get_finished_spans()
    assert theirs.get_span_context() == span.get_span_context()
    assert set(sink.accepted) == {span_id(span)}


def test_every_destination_gets_every_span(sink: Sink, other: Sink) -> None:
    with running_pipeline(settings(a=sink.url, b=other.url)) as pipeline:
        ids = {span_id(record(pipeline)) for _ in range(10)}
        assert pipeline.flush(PATIENCE_S)
    assert set(sink.accepted) == set(other.accepted) == ids


def test_one_dead_destination_does_not_hold_up_the_others(sink: Sink) -> None:
    dead = f"http://127.0.0.1:{closed_port()}"
    with running_pipeline(settings(dead=dead, good=sink.url)) as pipeline:
        ids = {span_id(record(pipeline)) for _ in range(10)}
        wait_for(lambda: pipeline.status().destinations["good"].sent == 10)
        wait_for(lambda: bool(pipeline.status().destinations["dead"].last_error))
        status = pipeline.status().destinations
    assert set(sink.accepted) == ids
    assert (status["good"].sent, status["dead"].sent, status["dead"].queued) == (10, 0, 10)
    assert status["dead"].last_error == "connection failed: connection refused"
    assert status["good"].healthy
    assert not status["dead"].healthy


def test_a_long_chat_keeps_all_its_attributes(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        tracer = pipeline.tracer_provider.get_tracer("app")
        with tracer.start_as_current_span("wide") as span:
            for number in range(500):
                span.set_attribute(f"k.{number}", number)
        assert pipeline.flush(PATIENCE_S)
    (sent,) = sink.spans
    assert sent.dropped_attributes_count == 0
    assert attributes(sent)["k.0"] == 0


def test_values_that_otlp_cannot_hold_cost_themselves_and_nothing_else(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        call = make_call("half \ud83d of a pair")
        call.attributes |= {"big": 2**80, "odd": object(), "good": 1}
        record(pipeline, call)
        assert pipeline.flush(PATIENCE_S)
    (sent,) = sink.spans
    found = attributes(sent)
    assert (found["big"], found["good"]) == (str(2**80), 1)
    assert "odd" not in found
    assert "half ? of a pair" in found["input.value"]


# -- sampling, suppression, metrics --------------------------------------------------------


def test_metrics_count_every_call_whatever_the_sampling(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url, ratio=0.0)) as pipeline:
        for _ in range(5):
            record(pipeline, make_call(input_tokens=3))
        assert pipeline.flush(PATIENCE_S)
        status = pipeline.status()
    assert sink.spans == []
    assert (status.calls, status.sampled_out) == (5, 5)
    counts = {name: point.count for name, point in sink.metrics}
    assert counts == {"gen_ai.client.operation.duration": 5, "gen_ai.client.token.usage": 5}


def test_a_suppressed_call_leaves_neither_span_nor_metric(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        with quiet():
            record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.status().calls == 0
    assert sink.requests == []


def test_the_sampling_ratio_follows_while_the_program_runs(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url, ratio=0.0)) as pipeline:
        record(pipeline)
        assert pipeline.apply(settings(a=sink.url), "hash-1").problems == ()
        kept = record(pipeline)
        pipeline.apply(settings(a=sink.url, ratio=0.0), "hash-2")
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
    assert set(sink.accepted) == {span_id(kept)}
    assert attributes(sink.spans[0])["llm_observe.config.hash"] == "hash-1"


def test_metrics_go_only_where_they_are_wanted(sink: Sink, other: Sink) -> None:
    both = settings(a=sink.url)
    spans_only = settings(b=other.url, signals=("traces",))
    begin = replace(both, destinations={**both.destinations, **spans_only.destinations})
    with running_pipeline(begin) as pipeline:
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        states = {name: d.metrics.state for name, d in pipeline.status().destinations.items()}
    assert len(sink.to("/v1/metrics")) == 1
    assert [request.path for request in other.requests] == ["/v1/traces"]
    assert states == {"a": "on", "b": "off"}


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_destination_without_metrics_keeps_its_spans_and_says_so(
    sink: Sink, other: Sink, status: int
) -> None:
    sink.replies["/v1/metrics"] = Reply(status)
    with running_pipeline(settings(a=sink.url)) as pipeline:
        for _ in range(3):
            record(pipeline)
            assert pipeline.flush(PATIENCE_S)
        found = pipeline.status().destinations["a"]
        assert len(sink.to("/v1/metrics")) == 1
        assert found.sent == 3
        assert found.metrics.state.startswith(f"HTTP {status}")
        pipeline.apply(settings(a=other.url), "hash-1")
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.status().destinations["a"].metrics.state == "on"
    assert len(other.to("/v1/metrics")) == 1


def test_metrics_of_an_outage_arrive_after_it(sink: Sink) -> None:
    sink.reply = Reply(503)
    with running_pipeline(settings(a=sink.url)) as pipeline:
        for _ in range(3):
            record(pipeline)
            assert not pipeline.flush(0.3)
        sink.reply = Reply()
        assert pipeline.flush(PATIENCE_S)
    good = [r for r in sink.to("/v1/metrics") if r.status == 200]
    assert len(good) == 1
    sink.requests = good
    assert sum(p.count for name, p in sink.metrics if name.endswith("duration")) == 3


def test_what_a_call_put_off_is_done_before_it_is_counted_and_rendered(sink: Sink) -> None:
    where: list[str] = []
    with running_pipeline(settings(a=sink.url)) as pipeline:
        call = make_call()

        def late() -> None:
            where.append(threading.current_thread().name)
            call.output_tokens = 42

        call.late = late
        record(pipeline, call)
        assert pipeline.flush(PATIENCE_S)
    assert where == ["llm-observe-intake"]
    assert attributes(sink.spans[0])["gen_ai.usage.output_tokens"] == 42
    assert [p.sum for name, p in sink.metrics if name.endswith("token.usage")] == [42]


def test_a_flush_does_not_wait_for_calls_to_come_together(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url), delay_s=3600.0) as pipeline:
        for _ in range(3):
            record(pipeline)
            assert pipeline.flush(PATIENCE_S)
    assert len(sink.spans) == 3


# -- late numbers --------------------------------------------------------------------------


def test_late_numbers_are_in_span_and_metrics(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        call = make_call()

        def complete() -> None:
            call.output_tokens = 42

        call.completion = complete
        record(pipeline, call)
        assert pipeline.flush(PATIENCE_S)
    assert attributes(sink.spans[0])["gen_ai.usage.output_tokens"] == 42
    assert [p.sum for name, p in sink.metrics if name.endswith("token.usage")] == [42]


def test_a_completion_that_fails_or_hangs_costs_only_its_numbers(sink: Sink) -> None:
    never = threading.Event()

    def hang() -> None:
        never.wait(PATIENCE_S)

    def fail() -> None:
        raise RuntimeError(CANARY)

    with running_pipeline(settings(a=sink.url), completion_s=0.1) as pipeline:
        calls = [make_call(completion=hang) for _ in range(6)]
        spans = [record(pipeline, call) for call in [*calls, make_call(completion=fail)]]
        assert pipeline.flush(PATIENCE_S)
        never.set()
        assert pipeline.flush(PATIENCE_S)
    assert sink.accepted == Counter(span_id(span) for span in spans)


def test_a_process_that_ends_does_not_wait_long_for_late_numbers_and_keeps_the_call(
    sink: Sink,
) -> None:
    release = threading.Event()
    with running_pipeline(settings(a=sink.url), completion_s=600.0) as pipeline:
        span = record(pipeline, make_call(completion=lambda: release.wait(60)))
        pipeline.shutdown(5.0)
        release.set()
    assert set(sink.accepted) == {span_id(span)}


def test_a_completion_is_run_where_nothing_is_recorded(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:

        def complete() -> None:
            record(pipeline, make_call("inner"))

        record(pipeline, make_call(completion=complete))
        assert pipeline.flush(PATIENCE_S)
    assert len(sink.spans) == 1


# -- content fails closed ------------------------------------------------------------------


def test_a_fault_in_rendering_costs_the_content_and_not_the_span(sink: Sink) -> None:
    before = gate.count
    with running_pipeline(settings(a=sink.url)) as pipeline:
        bad = record(pipeline, make_call(parameters={"x": object()}))
        good = record(pipeline)
        assert pipeline.flush(PATIENCE_S)
    sent = {span.span_id: attributes(span) for span in sink.spans}
    assert set(sent) == {span_id(bad), span_id(good)}
    assert "input.value" not in sent[span_id(bad)]
    assert sent[span_id(bad)]["llm_observe.content.dropped"] is True
    assert sent[span_id(bad)]["gen_ai.request.model"] == "meta/llama-2-7b-chat"
    assert gate.count > before
    gate.count = before


def test_a_tighter_level_reaches_what_is_queued(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url), delay_s=3600.0) as pipeline:
        ids = {span_id(record(pipeline)) for _ in range(20)}
        assert not pipeline.status().destinations["a"].sent
        assert pipeline.apply(settings(a=sink.url, level=METADATA), "hash-1").problems == ()
        assert pipeline.flush(PATIENCE_S)
    assert set(sink.accepted) == ids
    assert CANARY.encode() not in sink.bytes
    assert {attributes(span)["llm_observe.capture.level"] for span in sink.spans} == {"metadata"}


def test_a_tighter_level_ends_a_request_that_hangs_and_sends_it_again_without_content(
    sink: Sink,
) -> None:
    sink.script = [Reply(hang=True)]
    begin = settings(a=sink.url, signals=("traces",), timeout_s=100.0)
    with running_pipeline(begin) as pipeline:
        span = record(pipeline)
        (loose,) = sink.wait(1)
        assert CANARY.encode() in loose.body
        tight = replace(begin, capture=Capture(level=OFF))
        assert pipeline.apply(tight, "hash-1").problems == ()
        assert sink.hung_up.wait(PATIENCE_S)
        assert pipeline.flush(PATIENCE_S)
    after = sink.requests[1:]
    assert [span_id(span)] == [sent.span_id for request in after for sent in request.spans]
    assert all(CANARY.encode() not in request.body for request in after)


@pytest.mark.parametrize("size", [200_000, 8_000_000], ids=["in the kernel", "half in our hands"])
def test_after_a_tightening_nothing_more_leaves_of_a_request_that_is_being_read(size: int) -> None:
    """The receiver stops reading in the middle; what it reads later must lack the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        begin = settings(a=url, signals=("traces",), compression="none")
        with running_pipeline(begin, queue_bytes=10**9) as pipeline:
            record(pipeline, make_call("x" * size + CANARY))
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1024, socket.MSG_WAITALL).startswith(b"POST")
                tight = replace(begin, capture=Capture(level=OFF))
                assert pipeline.apply(tight, "hash-1").problems == ()
                left = drain(connection)
            pipeline.apply(settings(level=OFF), "hash-2")
    assert CANARY.encode() not in left


def drain(connection: socket.socket) -> bytes:
    connection.settimeout(PATIENCE_S)
    received = bytearray()
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return bytes(received)


# -- changing destinations -----------------------------------------------------------------


def test_a_probe_is_an_empty_request_with_the_true_headers(sink: Sink, other: Sink) -> None:
    environ = {"TOKEN": "Bearer t0ps3cret"}
    with running_pipeline(settings(a=sink.url), environ) as pipeline:
        wanted = settings(a=other.url, headers={"authorization": "env:TOKEN"})
        assert pipeline.apply(wanted, "hash-1").problems == ()
        assert pipeline.settings == wanted
        assert pipeline.config_hash == "hash-1"
    (probe,) = other.requests
    assert (probe.path, probe.body) == ("/v1/traces", b"")
    assert probe.headers["authorization"] == "Bearer t0ps3cret"
    assert probe.headers["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (Reply(302, {"location": "/login"}), "HTTP 302 Found, a redirect, which is not followed"),
        (Reply(401), "HTTP 401 Unauthorized"),
        (Reply(403), "HTTP 403 Forbidden"),
        (Reply(404), "HTTP 404 Not Found"),
        (Reply(500), "HTTP 500 Internal Server Error"),
        (Reply(503), "HTTP 503 Service Unavailable"),
        (Reply(200, {"content-type": "text/html"}), "a web page instead of an OTLP answer"),
        (Reply(close=True), "the connection broke"),
        (Reply(hang=True), "no answer within 0.3 s"),
    ],
)
def test_a_failed_probe_changes_nothing_but_what_is_tighter(
    sink: Sink, other: Sink, reply: Reply, found: str
) -> None:
    other.reply = reply
    begin = settings(a=sink.url)
    with running_pipeline(begin) as pipeline:
        wanted = settings(a=other.url, level=METADATA, ratio=0.0, timeout_s=0.3)
        applied = pipeline.apply(wanted, "hash-1")
        (problem,) = applied.problems
        assert problem.path == "destinations.a.endpoint"
        assert found in problem.found
        assert applied.settings == pipeline.settings
        assert applied.settings.destinations == begin.destinations
        assert applied.settings.sampling == begin.sampling
        assert applied.settings.capture.level is METADATA
        assert pipeline.config_hash == "hash-0"
        span = record(pipeline)
        assert pipeline.flush(PATIENCE_S)
    assert set(sink.accepted) == {span_id(span)}
    assert CANARY.encode() not in sink.bytes


def test_a_destination_that_refuses_connections_is_a_problem(sink: Sink) -> None:
    dead = f"http://127.0.0.1:{closed_port()}"
    with running_pipeline(settings(a=sink.url)) as pipeline:
        applied = pipeline.apply(settings(a=sink.url, b=dead, c=dead), "hash-1")
        assert [p.path for p in applied.problems] == [
            "destinations.b.endpoint",
            "destinations.c.endpoint",
        ]
        assert "connection refused" in applied.problems[0].found
        assert set(pipeline.status().destinations) == {"a"}


def test_a_header_that_cannot_be_read_is_a_problem_of_that_header(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        wanted = settings(a=sink.url, headers={"x-api-key": "env:NO_SUCH"})
        (problem,) = pipeline.apply(wanted, "hash-1").problems
    assert problem.path == "destinations.a.headers.x-api-key"
    assert "NO_SUCH" in problem.found
    assert sink.requests == []


def test_throttling_is_no_reason_to_refuse_a_destination(sink: Sink, other: Sink) -> None:
    other.reply = Reply(429)
    with running_pipeline(settings(a=sink.url)) as pipeline:
        assert pipeline.apply(settings(a=other.url), "hash-1").problems == ()


def test_unchanged_destinations_are_not_asked_again(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        sink.reply = Reply(500)
        assert pipeline.apply(settings(a=sink.url, level=OFF), "hash-1").problems == ()
    assert sink.requests == []


def test_a_removed_destination_gets_nothing_more_and_its_queue_is_counted(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url), delay_s=3600.0) as pipeline:
        for _ in range(5):
            record(pipeline)
        pipeline._intake.flush(time.monotonic() + PATIENCE_S)
        assert pipeline.apply(settings(), "hash-1").problems == ()
        arrived = len(sink.to("/v1/traces"))
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        status = pipeline.status()
    assert (arrived, len(sink.to("/v1/traces"))) == (0, 0)
    assert (status.destinations, status.dropped) == ({}, 5)


def test_a_destination_that_moves_takes_its_queue_along(sink: Sink, other: Sink) -> None:
    sink.reply = Reply(503)
    with running_pipeline(settings(a=sink.url)) as pipeline:
        ids = {span_id(record(pipeline)) for _ in range(50)}
        sink.wait(1)
        assert pipeline.apply(settings(a=other.url), "hash-1").problems == ()
        seen = len(sink.requests)
        ids |= {span_id(record(pipeline)) for _ in range(50)}
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.status().dropped == 0
    assert set(other.accepted) == ids
    assert len(sink.requests) == seen


def test_a_destination_that_moves_away_from_a_hanging_one_loses_nothing(
    sink: Sink, other: Sink
) -> None:
    sink.reply = Reply(hang=True)
    begin = settings(a=sink.url, signals=("traces",))
    with running_pipeline(begin) as pipeline:
        ids = {span_id(record(pipeline)) for _ in range(10)}
        sink.wait(1)
        assert pipeline.apply(settings(a=other.url, signals=("traces",)), "hash-1").problems == ()
        assert pipeline.flush(PATIENCE_S)
    assert other.accepted == Counter(ids)
    assert len(sink.requests) == 1


def test_a_destination_that_moves_away_from_a_silent_network_loses_nothing(other: Sink) -> None:
    """Connections to a full backlog are never established, so the sender is stuck connecting."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        begin = settings(a=f"http://127.0.0.1:{port}", signals=("traces",), timeout_s=3.0)
        with running_pipeline(begin, delay_s=0.0) as pipeline:
            ids = {span_id(record(pipeline)) for _ in range(10)}
            wait_for(lambda: pipeline._delivery._workers["a"]._exchange is not None)
            assert pipeline.apply(settings(a=other.url), "hash-1").problems == ()
            assert pipeline.flush(PATIENCE_S)
            assert other.accepted == Counter(ids)
        for filler in fillers:
            filler.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_hundred_swaps_under_load_lose_nothing(sink: Sink, other: Sink) -> None:
    stop = threading.Event()
    made: list[list[bytes]] = [[] for _ in range(4)]

    def produce(ids: list[bytes]) -> None:
        while not stop.is_set():
            ids.append(span_id(record(pipeline, make_call("x"))))
            time.sleep(0.0002)

    with running_pipeline(
        settings(a=sink.url), queue_items=100_000, batch_items=8, delay_s=0.001, grace_s=PATIENCE_S
    ) as pipeline:
        threads = [threading.Thread(target=produce, args=(ids,)) for ids in made]
        for thread in threads:
            thread.start()
        for number in range(100):
            where = (other, sink)[number % 2]
            assert pipeline.apply(settings(a=where.url), f"hash-{number}").problems == ()
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.status().dropped == 0
    produced = {one for ids in made for one in ids}
    assert len(produced) > 100
    assert sink.accepted, "both places were used"
    assert other.accepted
    arrived = sink.accepted + other.accepted
    assert set(arrived) == produced
    assert arrived == Counter(produced), "a healthy receiver got a span twice"


def test_a_swap_while_the_old_place_is_sick_loses_nothing(sink: Sink, other: Sink) -> None:
    sicknesses = [Reply(503), Reply(close=True), Reply(302), Reply(hang=True), Reply(401)]
    produced: set[bytes] = set()
    with running_pipeline(settings(a=sink.url, signals=("traces",))) as pipeline:
        for sickness in sicknesses:
            sink.reply = sickness
            seen = len(sink.requests)
            produced |= {span_id(record(pipeline)) for _ in range(20)}
            sink.wait(seen + 1)
            assert not pipeline.apply(settings(a=other.url, signals=("traces",)), "x").problems
            assert pipeline.flush(PATIENCE_S)
            sink.reply = Reply()
            assert not pipeline.apply(settings(a=sink.url, signals=("traces",)), "y").problems
        assert pipeline.status().dropped == 0
    assert set(other.accepted) == produced


def test_a_signal_that_is_taken_away_stops_at_once(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url), delay_s=3600.0) as pipeline:
        record(pipeline)
        pipeline._intake.flush(time.monotonic() + PATIENCE_S)
        assert not pipeline.apply(settings(a=sink.url, signals=("metrics",)), "hash-1").problems
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
    assert sink.spans == []
    assert sum(p.count for name, p in sink.metrics if name.endswith("duration")) == 2


# -- what tightening means -----------------------------------------------------------------


def test_tightening_takes_the_lower_level_and_only_what_both_send() -> None:
    before = settings(a="http://a", b="http://b", level=METADATA)
    after = settings(b="http://elsewhere", c="http://c", level=FULL, ratio=0.1)
    found = tightened(before, after)
    assert found.capture.level is METADATA
    assert found.sampling == before.sampling
    assert active_destinations(found) == {"b": before.destinations["b"]}
    assert tightened(after, before).capture.level is METADATA


def test_a_destination_that_is_switched_off_is_shown_as_such() -> None:
    before = settings(a="http://a")
    off = replace(before.destinations["a"], enabled=False)
    found = tightened(before, replace(before, destinations={"a": off}))
    assert found.destinations == {"a": off}


# -- ending --------------------------------------------------------------------------------


def test_shutdown_delivers_what_is_queued(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url), delay_s=3600.0) as pipeline:
        span = record(pipeline)
    assert set(sink.accepted) == {span_id(span)}
    assert len(sink.to("/v1/metrics")) == 1


def test_shutdown_ends_in_time_and_counts_what_it_leaves(sink: Sink) -> None:
    sink.reply = Reply(hang=True)
    pipeline_threads = {thread.ident for thread in threading.enumerate()}
    with running_pipeline(settings(a=sink.url)) as pipeline:
        for _ in range(3):
            record(pipeline)
        sink.wait(1)
        pipeline.shutdown(0.5)
        assert pipeline.status().dropped == 3
        record(pipeline)
    left = [t for t in threading.enumerate() if t.ident not in pipeline_threads]
    assert not [thread.name for thread in left if thread.name.startswith("llm-observe")]


def test_everything_after_shutdown_is_harmless(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        pass
    record(pipeline)
    pipeline.shutdown()
    assert pipeline.flush(0.1)
    assert sink.requests == []


# -- the application's threads -------------------------------------------------------------

_IMPORTS = """
import sys, threading
from opentelemetry.sdk.resources import Resource
from llm_observe.settings.model import Destination, Settings
from llm_observe.tracing.call import Call
from llm_observe.tracing.pipeline import Pipeline
main, on_main = threading.get_ident(), set()
def hook(event, args):
    if event == "import" and threading.get_ident() == main:
        on_main.add(args[0].partition(".")[0])
    if event.startswith("socket.") and threading.get_ident() == main:
        on_main.add(event)
sys.addaudithook(hook)
heavy = {"urllib3", "requests", "google", "pydantic", "grpc", "yaml"} & {*sys.modules}
pipeline = Pipeline(Resource({}), Settings(destinations={"a": Destination(endpoint=sys.argv[1])}))
call = Call(provider="p", request_model="m")
pipeline.finish(pipeline.start(call), call)
pipeline.status()
print(sorted(heavy), sorted(on_main & {"urllib3", "requests", "google", "pydantic", "socket.connect"}))
pipeline.flush(20)
print(pipeline.status().destinations["a"].sent)
"""


def test_the_callers_thread_loads_no_exporter_and_opens_no_connection(sink: Sink) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS, sink.url], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[] []", "1"]


def test_the_program_ends_by_itself_and_delivers_at_exit(sink: Sink) -> None:
    script = _IMPORTS.partition("pipeline.flush")[0]
    subprocess.run(
        [sys.executable, "-c", script, sink.url], capture_output=True, check=True, timeout=60
    )
    assert len(sink.spans) == 1


_FORK = """
import os, sys
from opentelemetry.sdk.resources import Resource
from llm_observe.settings.model import Destination, Settings
from llm_observe.tracing.call import Call
from llm_observe.tracing.export.bounds import Bounds
from llm_observe.tracing.pipeline import Pipeline
settings = Settings(destinations={"a": Destination(endpoint=sys.argv[1])})
pipeline = Pipeline(Resource({"who": "parent"}), settings, bounds=Bounds(delay_s=0.3))
os.register_at_fork(after_in_child=lambda: pipeline.after_fork_in_child(Resource({"who": "child"})))
def one(model):
    call = Call(provider="p", request_model=model)
    pipeline.finish(pipeline.start(call), call)
one("before")
under_way = Call(provider="p", request_model="under way")
span = pipeline.start(under_way)
foreign = pipeline.tracer_provider.get_tracer("other")
outer = foreign.start_span("outer")
child = os.fork()
one("child" if child == 0 else "parent")
pipeline.finish(span, under_way)
outer.end()
foreign.start_span("dated back " + str(child == 0), start_time=1).end()
good = pipeline.flush(20)
if child == 0:
    os._exit(0 if good else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if good else 4)
"""


def test_a_forked_child_sends_its_own_spans_and_not_its_parents(sink: Sink) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", _FORK, sink.url], check=True, timeout=60)
    assert Counter(span.name for span in sink.spans) == {
        "chat before": 1,
        "chat child": 1,
        "chat parent": 1,
        "chat under way": 1,
        "outer": 1,
        "dated back True": 1,
        "dated back False": 1,
    }
    child = next(r for r in sink.to("/v1/traces") if b"chat child" in r.body)
    assert b"child" in child.body.partition(b"chat child")[0]


def test_a_renamed_process_is_called_so_on_all_that_leaves_from_then_on(sink: Sink) -> None:
    with running_pipeline(settings(a=sink.url)) as pipeline:
        foreign = pipeline.tracer_provider.get_tracer("other")
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        under_way = make_call()
        span = pipeline.start(under_way)
        pipeline.rename(Resource({"service.instance.id": "new-name"}))
        pipeline.finish(span, under_way)
        record(pipeline)
        foreign.start_span("of another instrumentor").end()
        assert pipeline.flush(PATIENCE_S)
    named = [b"new-name" in request.body for request in sink.requests]
    assert len(sink.spans) == 4
    assert named == sorted(named)  # never the former name again
    assert named.count(False) == 2  # the first span, and its metrics


def test_ending_a_call_takes_no_lock_that_another_thread_may_hold(sink: Sink) -> None:
    """A stream may be ended by the garbage collector, anywhere, on any thread."""
    with running_pipeline(settings(a=sink.url)) as pipeline:
        call = make_call()
        span = pipeline.start(call)
        with pipeline._delivery._workers["a"]._changed, pipeline._intake._starting:
            pipeline.finish(span, call)
        assert pipeline.flush(PATIENCE_S)
    assert set(sink.accepted) == {span_id(span)}


def test_a_pipeline_without_destinations_counts_calls_and_drops_nothing() -> None:
    with running_pipeline(settings()) as pipeline:
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        status = pipeline.status()
    assert (status.calls, status.dropped, status.destinations) == (1, 0, {})


def test_calls_are_plain_values_until_they_leave() -> None:
    call: Call = make_call()
    with running_pipeline(settings()) as pipeline:
        span = pipeline.start(call)
        assert CANARY not in str(getattr(span, "attributes", {}))
        pipeline.finish(span, call)
