"""One destination that answers in every way there is."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from llm_observe.policy.capture import ActiveGrant, Clocks
from llm_observe.settings.model import Capture, CaptureLevel, Destination, Matcher, Redaction
from llm_observe.tracing.export.bounds import Bounds
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.worker import DestinationWorker
from llm_observe.tracing.gate import gate
from llm_observe.tracing.rendering.privacy import Privacy
from tests.tracing.export.drive import PATIENCE_S, QUICK, RESOURCE
from tests.tracing.export.sink import Reply, Sink

PROVIDER = TracerProvider(shutdown_on_exit=False)
TRACER = PROVIDER.get_tracer("app")


def entry(text: str = "") -> Entry:
    span = TRACER.start_span("work", attributes={"text": text})
    span.end()
    assert isinstance(span, ReadableSpan)
    return Entry(span)


def ids(entries: list[Entry]) -> set[bytes]:
    contexts = [entry.span.get_span_context() for entry in entries]
    return {context.span_id.to_bytes(8, "big") for context in contexts if context}


FULL = Privacy(Capture(level=CaptureLevel.FULL), Redaction(), {})


@contextmanager
def working(
    url: str,
    *,
    timeout_s: float = 10.0,
    headers: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    compression: str = "gzip",
    **bounds: object,
) -> Iterator[DestinationWorker]:
    destination = Destination(
        endpoint=url,
        timeout_s=timeout_s,
        headers=headers or {},
        compression=compression,  # type: ignore[arg-type]  # one of the two
    )
    worker = DestinationWorker(
        "a",
        destination,
        lambda: FULL,
        lambda: RESOURCE,
        Bounds(**{**QUICK, **bounds}),
        {} if environ is None else environ,
    )
    try:
        yield worker
    finally:
        worker.stop(time.monotonic() + 5.0)


def give(worker: DestinationWorker, count: int, text: str = "") -> list[Entry]:
    entries = [entry(text) for _ in range(count)]
    for one in entries:
        worker.offer(one, one.size)
    return entries


def flushed(worker: DestinationWorker, within_s: float = PATIENCE_S) -> bool:
    worker.hurry(time.monotonic() + within_s)
    return worker.emptied(time.monotonic() + within_s)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    before = gate.count
    yield
    assert gate.count == before, gate.last


# -- requests --------------------------------------------------------------------------------


@pytest.mark.parametrize(("compression", "encoding"), [("gzip", "gzip"), ("none", None)])
def test_requests_are_otlp_over_one_kept_connection(
    sink: Sink, compression: str, encoding: str | None
) -> None:
    with working(sink.url, compression=compression) as worker:
        for _ in range(3):
            give(worker, 2)
            assert flushed(worker)
    first = sink.requests[0]
    assert len(sink.requests) == 3
    assert first.headers.get("content-encoding") == encoding
    assert first.headers["content-type"] == "application/x-protobuf"
    assert len(sink.connections) == 1


def test_spans_wait_for_company_and_leave_together(sink: Sink) -> None:
    with working(sink.url, delay_s=0.2) as worker:
        sent = give(worker, 50)
        eventually(lambda: len(sink.accepted) == 50)
    assert [len(request.spans) for request in sink.requests] == [50]
    assert set(sink.accepted) == ids(sent)


def test_batches_are_cut_by_count_and_by_size(sink: Sink) -> None:
    with working(sink.url, delay_s=3600.0, batch_items=10) as worker:
        give(worker, 25)
        assert flushed(worker)
        small = [len(request.spans) for request in sink.requests]
    sink.requests.clear()
    with working(sink.url, delay_s=3600.0, batch_bytes=25_000) as worker:
        give(worker, 6, "x" * 10_000)
        assert flushed(worker)
    assert small == [10, 10, 5]
    assert [len(request.spans) for request in sink.requests] == [2, 2, 2]


def test_a_request_that_turns_out_too_large_is_halved_before_it_is_sent(sink: Sink) -> None:
    with working(sink.url, delay_s=3600.0, request_bytes=30_000) as worker:
        sent = give(worker, 8, "x" * 10_000)
        assert flushed(worker)
    assert sink.accepted == Counter(ids(sent))
    assert max(len(request.body) for request in sink.requests) <= 30_000


def test_headers_are_sent_and_a_rotated_secret_is_used_from_the_next_request_on(
    sink: Sink,
) -> None:
    environ = {"TOKEN": "one"}
    with working(sink.url, headers={"x-token": "env:TOKEN"}, environ=environ) as worker:
        give(worker, 1)
        assert flushed(worker)
        environ["TOKEN"] = "two"
        give(worker, 1)
        assert flushed(worker)
    assert [request.headers["x-token"] for request in sink.requests] == ["one", "two"]


def test_a_header_that_cannot_be_read_keeps_the_spans_until_it_can(sink: Sink) -> None:
    environ: dict[str, str] = {}
    with working(sink.url, headers={"x-token": "env:TOKEN"}, environ=environ) as worker:
        sent = give(worker, 3)
        eventually(lambda: "TOKEN" in worker.status().last_error)
        assert sink.requests == []
        environ["TOKEN"] = "there"
        assert flushed(worker)
    assert sink.accepted == Counter(ids(sent))


# -- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(302, {"location": "/elsewhere"}), "HTTP 302 Found, a redirect"),
        (Reply(401), "HTTP 401"),
        (Reply(404), "HTTP 404"),
        (Reply(429), "HTTP 429"),
        (Reply(500), "HTTP 500"),
        (Reply(503), "HTTP 503"),
        (Reply(200, {"content-type": "text/html"}), "a web page"),
        (Reply(close=True), "the connection broke"),
        (Reply(hang=True), "no answer within 0.2 s"),
    ],
)
def test_a_failure_of_the_destination_loses_nothing(sink: Sink, reply: Reply, reason: str) -> None:
    sink.script = [reply]
    with working(sink.url, timeout_s=0.2) as worker:
        sent = give(worker, 5)
        eventually(lambda: worker.status().sent == 5)
        status = worker.status()
    assert reason in status.last_error
    assert (status.failed, status.dropped, status.queued) == (0, 0, 0)
    last = sink.to("/v1/traces")[-1]
    assert {span.span_id for span in last.spans} == ids(sent)
    assert {request.path for request in sink.requests} == {"/v1/traces"}


@pytest.mark.parametrize("status", [400, 422])
def test_a_batch_that_is_refused_for_good_is_counted_and_the_next_one_goes_on(
    sink: Sink, status: int
) -> None:
    sink.script = [Reply(status)]
    with working(sink.url, delay_s=3600.0, batch_items=5) as worker:
        sent = give(worker, 10)
        assert flushed(worker)
        found = worker.status()
    assert (found.failed, found.sent) == (5, 5)
    assert found.last_error.startswith(f"HTTP {status}")
    assert set(sink.accepted) == ids(sent[5:])


def test_a_destination_with_a_size_limit_gets_smaller_requests_and_loses_only_the_giant(
    sink: Sink,
) -> None:
    sink.limit = 30_000
    with working(sink.url, delay_s=3600.0) as worker:
        small = give(worker, 7, "x" * 9_000)
        give(worker, 1, "x" * 90_000)
        assert flushed(worker)
        status = worker.status()
    assert sink.accepted == Counter(ids(small))
    assert (status.sent, status.failed, status.dropped) == (7, 1, 0)


def test_a_pause_that_was_asked_for_is_kept_even_when_flushing(sink: Sink) -> None:
    sink.script = [Reply(503, {"retry-after": "100"})]
    with working(sink.url) as worker:
        give(worker, 1)
        eventually(lambda: bool(worker.status().last_error))
        assert not flushed(worker, within_s=0.3)
    assert len(sink.requests) == 1


def test_a_pause_may_be_asked_for_by_date(sink: Sink) -> None:
    sink.script = [Reply(429, {"retry-after": formatdate(time.time() + 3600, usegmt=True)})]
    with working(sink.url, retry_after_most_s=0.1) as worker:
        give(worker, 1)
        eventually(lambda: worker.status().sent == 1)


def test_an_unreadable_pause_is_our_own_choice(sink: Sink) -> None:
    sink.script = [Reply(503, {"retry-after": "soon"})]
    with working(sink.url) as worker:
        give(worker, 1)
        eventually(lambda: worker.status().sent == 1)


def test_partial_success_is_counted(sink: Sink) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    answer.partial_success.error_message = "quoting a prompt"
    sink.reply = Reply(200, body=answer.SerializeToString())
    with working(sink.url) as worker:
        give(worker, 5)
        assert flushed(worker)
        status = worker.status()
    assert (status.sent, status.failed) == (3, 2)
    assert "2 of 5" in status.last_error
    assert "quoting" not in status.last_error


@pytest.mark.parametrize("body", [b"", b"{}", b'{"partialSuccess":{}}', b"\xff" * 20, b"ok"])
def test_an_answer_that_is_no_protobuf_is_success(sink: Sink, body: bytes) -> None:
    sink.reply = Reply(200, body=body)
    with working(sink.url) as worker:
        give(worker, 5)
        assert flushed(worker)
        assert (worker.status().sent, worker.status().failed) == (5, 0)


def test_a_huge_answer_is_not_read_whole(sink: Sink) -> None:
    sink.reply = Reply(200, body=b"\x00" * 20_000_000)
    with working(sink.url) as worker:
        give(worker, 1)
        assert flushed(worker)
        assert worker.status().sent == 1


def test_a_batch_that_makes_the_destination_stumble_does_not_block_the_others(
    sink: Sink,
) -> None:
    sink.poison = b"poison"
    with working(sink.url, delay_s=0.0, batch_items=1) as worker:
        give(worker, 1, "poison")
        eventually(lambda: bool(worker.status().last_error))
        good = give(worker, 5)
        eventually(lambda: worker.status().sent == 5)
        assert set(sink.accepted) == ids(good)
        assert worker.status().queued == 1


# -- bounds ------------------------------------------------------------------------------------


def test_beyond_the_count_bound_new_spans_are_dropped_and_counted(sink: Sink) -> None:
    with working(sink.url, delay_s=3600.0, queue_items=10, batch_items=100) as worker:
        sent = give(worker, 15)
        status = worker.status()
        assert (status.queued, status.dropped) == (10, 5)
        assert flushed(worker)
    assert set(sink.accepted) == ids(sent[:10])


def test_beyond_the_byte_bound_new_spans_are_dropped_and_counted(sink: Sink) -> None:
    with working(sink.url, delay_s=3600.0, queue_bytes=25_000) as worker:
        give(worker, 4, "x" * 10_000)
        assert (worker.status().queued, worker.status().dropped) == (2, 2)


def test_what_is_in_flight_counts_against_the_bound(sink: Sink) -> None:
    sink.reply = Reply(hang=True)
    with working(sink.url, delay_s=0.0, queue_items=10, batch_items=5) as worker:
        give(worker, 5)
        sink.wait(1)
        give(worker, 8)
        assert (worker.status().queued, worker.status().dropped) == (10, 3)


def test_accepted_means_delivered_however_often_the_destination_fails(sink: Sink) -> None:
    sink.script = [Reply(503), Reply(close=True), Reply(500), Reply(302)] * 5
    with working(sink.url, queue_items=40, batch_items=7) as worker:
        sent: list[Entry] = []
        while len(sent) < 400:  # ten queue lengths
            if worker.status().queued < 40:
                sent += give(worker, 1)
            else:
                time.sleep(0.001)
        assert flushed(worker)
        assert worker.status().dropped == 0
    assert set(sink.accepted) == ids(sent)


def test_a_request_is_ended_at_its_deadline_however_slowly_the_answer_drips(sink: Sink) -> None:
    sink.drip = True
    with working(sink.url, timeout_s=0.3) as worker:
        give(worker, 1)
        sink.wait(1)
        while not worker.status().last_error:
            worker.watch(time.monotonic())
            time.sleep(0.01)
        assert worker.status().last_error == "no answer within 0.3 s"


def test_a_fault_in_encoding_costs_one_span(sink: Sink) -> None:
    before = gate.count
    with working(sink.url, delay_s=3600.0) as worker:
        good = give(worker, 3)
        worker.offer("no entry at all", 1)  # type: ignore[arg-type]  # that is the point
        good += give(worker, 3)
        assert flushed(worker)
        status = worker.status()
    assert sink.accepted == Counter(ids(good))
    assert status.failed == 1
    assert gate.count > before
    gate.count = before


def test_stopping_never_takes_longer_than_it_may(sink: Sink) -> None:
    sink.reply = Reply(hang=True)
    with working(sink.url, timeout_s=100.0) as worker:
        give(worker, 1)
        sink.wait(1)
        worker.stop(time.monotonic() + PATIENCE_S)
        assert sink.hung_up.wait(PATIENCE_S)
        assert worker.status().dropped == 1
    names = [thread.name for thread in threading.enumerate()]
    assert "llm-observe-export-a" not in names


def test_a_request_made_under_a_grant_that_ended_meanwhile_is_made_anew(sink: Sink) -> None:
    """As in a process that was stopped between making a request and sending it."""
    times = [Clocks(0, 0)] * 3 + [Clocks(10, 10)]
    grant = ActiveGrant("g", Matcher(), CaptureLevel.FULL, Clocks(10, 10))
    held = Privacy(Capture(), Redaction(), {}, None, (grant,), lambda: times[0])
    destination = Destination(endpoint=sink.url)

    def privacy() -> Privacy:
        times[:] = times[1:] or times
        return held

    worker = DestinationWorker("a", destination, privacy, lambda: RESOURCE, Bounds(**QUICK), {})
    try:
        give(worker, 1, "CANARY")
        assert flushed(worker)
    finally:
        worker.stop(time.monotonic() + 5.0)
    (request,) = sink.requests
    assert "metadata" in str(request.spans)
    assert "full" not in str(request.spans)


def test_a_queue_that_is_made_smaller_keeps_what_it_has_and_takes_no_more(sink: Sink) -> None:
    sink.reply = Reply(status=503)
    with working(sink.url) as worker:
        give(worker, 6)
        worker.move(Destination(endpoint=sink.url, queue_items=4))
        give(worker, 2)
        assert (worker.status().queued, worker.status().dropped) == (6, 2)
        sink.reply = Reply()
        worker.hurry(time.monotonic() + PATIENCE_S)
        assert worker.emptied(time.monotonic() + PATIENCE_S)
        give(worker, 3)
        assert worker.status().dropped == 2


def test_a_queue_is_bounded_by_mebibytes_too(sink: Sink) -> None:
    sink.reply = Reply(hang=True)
    with working(sink.url) as worker:
        worker.move(Destination(endpoint=sink.url, queue_mib=0.01))
        give(worker, 12)
        assert 0 < worker.status().dropped < 12


def test_a_small_queue_fills_its_batches(sink: Sink) -> None:
    """A queue that could not fill a batch would wait for company while it drops."""
    with working(sink.url, delay_s=3600.0) as worker:
        worker.move(Destination(endpoint=sink.url, queue_items=8))
        give(worker, 8)
        with sink.arrived:
            assert sink.arrived.wait_for(lambda: len(sink.spans) == 8, PATIENCE_S)
