"""A hundred swaps under load, between receivers that turn sick after they passed the probe."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from llm_observe.settings.model import Destination, Settings
from llm_observe.testing import Answer, OTLPGrpcSink, OTLPSink, serve_grpc, serve_in_thread
from llm_observe.tracing.pipeline import Pipeline
from tests.tracing.export.drive import (
    PATIENCE_S,
    make_call,
    record,
    running_pipeline,
    settings,
    span_id,
)

Receiver = OTLPSink | OTLPGrpcSink
LATE_S = 1.0
WELL = Answer()
SICK = (
    WELL,
    Answer(delay_s=0.01),
    Answer(delay_s=LATE_S),
    Answer(hang=True),
    Answer(status=503, code="UNAVAILABLE"),
    Answer(status=307, location="http://127.0.0.1:9/v1/traces", code="UNAVAILABLE"),
    Answer(cut=True, code="UNAVAILABLE"),
)
PROTOCOLS = ("http/protobuf", "grpc")


@contextlib.contextmanager
def serving(protocol: str) -> Iterator[tuple[Receiver, str]]:
    if protocol == "grpc":
        grpc_sink = OTLPGrpcSink()
        with serve_grpc(grpc_sink) as served:
            yield grpc_sink, served.url
    else:
        sink = OTLPSink()
        with serve_in_thread(sink) as served:
            yield sink, served.url


def towards(protocol: Any, url: str) -> Settings:
    to = Destination(endpoint=url, protocol=protocol, signals=("traces",), timeout_s=100.0)
    return replace(settings(), destinations={"a": to})


class Load:
    """Calls from three threads, until it is left."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._stop = pipeline, threading.Event()
        self._made: list[list[bytes]] = [[] for _ in range(3)]
        self._threads = [threading.Thread(target=self._run, args=(ids,)) for ids in self._made]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _run(self, ids: list[bytes]) -> None:
        while not self._stop.is_set():
            ids.append(span_id(record(self._pipeline, make_call("x"))))
            time.sleep(0.002)

    @property
    def made(self) -> set[bytes]:
        return {one for ids in self._made for one in ids}


def accepted(receiver: Receiver) -> Counter[bytes]:
    return Counter(span.span_id for span in receiver.spans())


def unheard(receiver: Receiver) -> set[bytes]:
    """Spans that were accepted in an answer which came late or never."""
    return {
        span.span_id
        for each in receiver.requests("traces")
        if each.answer.hang or each.answer.delay_s >= LATE_S or each.answer.cut
        for resource in getattr(each.message, "resource_spans", ())
        for scope in resource.scope_spans
        for span in scope.spans
    }


@pytest.mark.parametrize("protocols", [PROTOCOLS[:1], PROTOCOLS[1:], PROTOCOLS])
def test_a_hundred_swaps_between_receivers_that_turn_sick_lose_nothing(
    protocols: tuple[str, ...],
) -> None:
    rng = random.Random(4)
    with contextlib.ExitStack() as stack:
        places = [
            (protocol, *stack.enter_context(serving(protocol))) for protocol in (*protocols,) * 2
        ]
        begin = towards(places[0][0], places[0][2])
        pipeline = stack.enter_context(
            running_pipeline(begin, queue_items=100_000, delay_s=0.001, grace_s=0.02)
        )
        with Load(pipeline) as load:
            for number in range(100):
                protocol, receiver, url = places[number % len(places)]
                receiver.answer_with(WELL)
                applied = pipeline.apply(towards(protocol, url), f"hash-{number}")
                assert applied.problems == ()
                receiver.answer_with(rng.choice(SICK))
                time.sleep(0.01)
        for _, receiver, _ in places:
            receiver.answer_with(WELL)
            receiver.release()
        assert pipeline.flush(PATIENCE_S)
        status = pipeline.status()
        assert (status.dropped, status.destinations["a"].failed) == (0, 0)
        arrived = sum((accepted(receiver) for _, receiver, _ in places), Counter[bytes]())
        late = set().union(*(unheard(receiver) for _, receiver, _ in places))
    assert len(load.made) > 100
    assert load.made <= arrived.keys() | late
    assert load.made == arrived.keys()
    twice = {one for one, times in arrived.items() if times > 1}
    assert twice <= late, "a receiver that answered in time got a span twice"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_beyond_the_queue_what_is_lost_is_what_is_counted(protocol: str) -> None:
    with serving(protocol) as (receiver, url), serving(protocol) as (other, elsewhere):
        receiver.answer_with(Answer(hang=True))
        begin = towards(protocol, url)
        with running_pipeline(begin, queue_items=40, batch_items=10, grace_s=0.02) as pipeline:
            made = set()
            for number in range(200):
                made.add(span_id(record(pipeline, make_call("x"))))
                if number % 20 == 19:
                    pipeline._intake.flush(time.monotonic() + PATIENCE_S)
            assert pipeline.apply(towards(protocol, elsewhere), "hash-1").problems == ()
            assert pipeline.flush(PATIENCE_S)
            dropped = pipeline.status().dropped
        receiver.release()
        arrived = accepted(other)
    assert arrived.keys() <= made
    assert dropped > 0
    assert len(made) == len(arrived) + dropped
