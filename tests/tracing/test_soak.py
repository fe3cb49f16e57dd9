"""Many calls through the real client, half of them abandoned: nothing grows.

The client's transport answers from memory, so that a hundred thousand calls take minutes
(``scripts/test --full``); a plain run does two thousand.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any, NamedTuple

import psutil
import pytest
from replicate.client import Client

from llm_observe.testing import OTLPSink, serve_in_thread
from llm_observe.tracing.gate import gate
from llm_observe.tracing.pipeline import Pipeline
from llm_observe.tracing.wrapping import inflight, instrument, patch
from tests.tracing.doubles import MODEL, PROMPT, ReplicateAPI
from tests.tracing.export.drive import running_pipeline, settings

CALLS = 100_000 if os.environ.get("LLM_OBSERVE_FULL") else 2_000
ROUNDS = 10
BREATH = 500
REFERENCE = f"{MODEL}:v1"
PATIENCE_S = 120.0

Call = Callable[[Client], Any]


def whole(client: Client) -> None:
    client.run(MODEL, input=PROMPT)


def read(client: Client) -> None:
    for _ in client.stream(MODEL, input=PROMPT):
        pass


def waited_for(client: Client) -> None:
    client.predictions.create("v1", PROMPT).wait()


def polled(client: Client) -> None:
    list(client.run(REFERENCE, input=PROMPT, wait=False))


def broken_off(client: Client) -> None:
    for _ in client.stream(MODEL, input=PROMPT):
        break


def dropped_in_a_cycle(client: Client) -> None:
    held: dict[str, Any] = {"stream": client.stream(MODEL, input=PROMPT)}
    held["itself"] = held
    next(held["stream"])


def never_waited_for(client: Client) -> None:
    client.predictions.create("v1", PROMPT)


def never_polled(client: Client) -> None:
    client.run(REFERENCE, input=PROMPT, wait=False)


KEPT: tuple[Call, ...] = (whole, read, waited_for, polled)
ABANDONED: tuple[Call, ...] = (broken_off, dropped_in_a_cycle, never_waited_for, never_polled)


class Size(NamedTuple):
    """What may not grow."""

    objects: int
    rss: int
    threads: int
    files: int


def measured() -> Size:
    gc.collect()
    process = psutil.Process()
    return Size(
        len(gc.get_objects()),
        process.memory_info().rss,
        threading.active_count(),
        process.num_fds(),
    )


@contextmanager
def observed() -> Iterator[tuple[Client, Pipeline]]:
    """The real client over an API that answers from memory, recorded and exported."""
    sink = OTLPSink(limit=4)
    api = ReplicateAPI()
    api.requests = Forgetful()
    with serve_in_thread(sink) as server, running_pipeline(settings(a=server.url)) as pipeline:
        instrument.install()
        patch.connect(pipeline)
        try:
            yield api.client(), pipeline
        finally:
            patch.connect(None)
            instrument.uninstall()


class Forgetful(list[Any]):
    """Keeps nothing."""

    def append(self, item: Any) -> None:
        pass


@pytest.mark.skipif(
    not importlib.metadata.version("replicate").startswith("1."),
    reason="the calls are written for replicate 1.x",
)
def test_nothing_grows_over_many_calls_half_of_them_abandoned() -> None:
    calls = cycle(x for pair in zip(KEPT, ABANDONED, strict=True) for x in pair)
    sizes: list[Size] = []
    with observed() as (client, pipeline):
        faults = gate.count
        for number in range(1, ROUNDS + 1):
            for done, call in enumerate(islice(calls, CALLS // ROUNDS)):
                call(client)
                if done % BREATH == 0:  # the exporter keeps pace on any machine
                    assert pipeline.flush(PATIENCE_S)
            gc.collect()
            assert not inflight._running, "a span is open"
            assert pipeline.flush(PATIENCE_S)
            sizes.append(measured())
            assert pipeline.status().calls == number * CALLS // ROUNDS
        status = pipeline.status()
        assert gate.count == faults, gate.last
        assert status.dropped == 0
        assert sum(each.sent for each in status.destinations.values()) >= CALLS
    warm, end = sizes[2], sizes[-1]
    assert end.threads <= warm.threads, sizes
    assert end.files <= warm.files + 2
    assert end.objects < warm.objects * 1.02 + 500, sizes
    assert end.rss < warm.rss * 1.1 + 8_000_000, sizes
