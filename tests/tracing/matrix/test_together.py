"""Many calls at once, in threads and in tasks: each has its own span, with its own words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llm_observe.testing import (
    FakeReplicate,
    Fault,
    GenerationRequest,
    OTLPSink,
    ScriptedEngine,
    serve_in_thread,
)
from llm_observe.tracing.gate import gate
from llm_observe.tracing.pipeline import Pipeline
from llm_observe.tracing.wrapping import inflight, instrument, patch
from tests.tracing.export.drive import PATIENCE_S, attributes, running_pipeline, settings
from tests.tracing.matrix.clients import surfaces
from tests.tracing.matrix.driving import drive, drive_async
from tests.tracing.matrix.seen import Seen
from tests.tracing.matrix.table import DEPLOYMENT, MODEL, Case, Ending, How, Situation, Surface

MODULE = surfaces()
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
CALLS = 48
WAYS: tuple[How, ...] = ("complete", "close")
THREADS = 8


def echo(asked: GenerationRequest) -> str:
    return f"You said {asked.prompt} and no more."


@dataclass
class Place:
    url: str
    pipeline: Pipeline
    sink: OTLPSink


@pytest.fixture
def place() -> Iterator[Place]:
    fake = FakeReplicate(ScriptedEngine(echo), deployments={DEPLOYMENT: MODEL})
    fake.script(*[Fault(chunk_s=0.002)] * CALLS)
    sink = OTLPSink()
    with ExitStack() as stack:
        url = stack.enter_context(serve_in_thread(fake)).url
        export = stack.enter_context(serve_in_thread(sink)).url
        stack.enter_context(MODULE.module_client(url))
        pipeline = stack.enter_context(running_pipeline(settings(a=export)))
        instrument.install()
        patch.connect(pipeline)
        stack.callback(patch.connect, None)
        yield Place(url, pipeline, sink)


def chosen(is_async: bool) -> list[Case]:
    """Surfaces in turn, each to its end or broken off."""
    found = [
        Case(surface, Ending(name=how, how=how))
        for surface in MODULE.SURFACES
        if surface.is_async == is_async and not surface.alike and usual(surface)
        for how in WAYS
        if how == "complete" or surface.live
    ]
    return list(islice(cycle(found), CALLS))


def usual(surface: Surface) -> bool:
    """Its calls go right; its client is the one given."""
    return surface.fault is None and "replicate." not in surface.name and not surface.lacks


def situation(place: Place, client: Any, number: int) -> Situation:
    return Situation(place.url, client, {"prompt": f"<{number}>", "system_prompt": "Echo."})


def spans(place: Place) -> dict[str, Span]:
    """By the prompt that stands on each."""
    assert place.pipeline.flush(PATIENCE_S)
    found = place.sink.spans()
    by_prompt = {attributes(s)["llm.input_messages.1.message.content"]: s for s in found}
    assert len(found) == len(by_prompt) == CALLS
    assert not inflight.any_open()
    return by_prompt


def check(place: Place, seen: list[Seen]) -> None:
    by_prompt = spans(place)
    for number, each in enumerate(seen):
        assert each.raised == ""
        found = attributes(by_prompt[f"<{number}>"])
        answer = found.get("llm.output_messages.0.message.content", "")
        assert answer == each.text != ""
        assert each.text in echo(GenerationRequest(prompt=f"<{number}>"))
    assert len({span.trace_id for span in by_prompt.values()}) == CALLS


def test_threads_that_share_a_client_do_not_mix_their_calls(place: Place) -> None:
    cases, seen, before = chosen(is_async=False), [Seen() for _ in range(CALLS)], gate.count
    with MODULE.client(place.url) as client:

        def work(first: int, step: int = THREADS) -> None:
            for number in range(first, CALLS, step):
                surface, ending = cases[number]
                drive(surface, ending.how, situation(place, client, number), seen[number])

        work(0, CALLS)  # the first makes the client's connections, without a lock
        threads = [threading.Thread(target=work, args=(n + 1,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        check(place, seen)
    assert gate.count == before, gate.last


def test_tasks_that_share_a_client_do_not_mix_their_calls(place: Place) -> None:
    cases, seen, before = chosen(is_async=True), [Seen() for _ in range(CALLS)], gate.count

    async def work() -> None:
        async with MODULE.async_module_client(), MODULE.async_client(place.url) as client:
            tasks = [
                drive_async(
                    case.surface,
                    case.ending.how,
                    situation(place, client, number),
                    seen[number],
                    lambda: False,
                )
                for number, case in enumerate(cases)
            ]
            await asyncio.gather(*tasks)

    asyncio.run(work())
    check(place, seen)
    assert gate.count == before, gate.last
