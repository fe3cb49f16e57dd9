"""What the matrix runs in: a fake Replicate and an OTLP sink on loopback, and real pipelines."""

from __future__ import annotations

import asyncio
import gc
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import httpx
from openinference.instrumentation import suppress_tracing
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.trace import get_current_span

from llm_observe.settings.model import CaptureLevel
from llm_observe.testing import (
    FakeReplicate,
    OTLPSink,
    ScriptedEngine,
    ServerLimits,
    serve_in_thread,
)
from llm_observe.tracing.gate import gate
from llm_observe.tracing.pipeline import Pipeline
from llm_observe.tracing.wrapping import instrument, patch
from tests.tracing.export.drive import PATIENCE_S, running_pipeline, settings
from tests.tracing.matrix.driving import drive, drive_async
from tests.tracing.matrix.seen import Seen
from tests.tracing.matrix.table import ANSWER, ASKED, DEPLOYMENT, MODEL, Case, Situation

LIMITS = ServerLimits(body_bytes=16_000_000, input_characters=4_000_000, predictions=100)
_KINDS = {
    "create": r"POST .*/predictions$",
    "cancel": r"POST .*/cancel$",
    "read": r"GET /v1/predictions/\w+$",
    "stream": r"GET /v1/streams/",
}
_TIMES = ("duration", "time_to_first_chunk")
OTHER_SCOPE = "openinference.instrumentation.langchain"


@dataclass(slots=True)
class Recorded:
    """What came out at the far end of one case, and what the caller saw."""

    seen: Seen
    spans: list[Span]
    durations: int
    """Data points of the duration, counted."""
    firsts: int
    """Those of the time to the first chunk."""
    tokens: Mapping[str, float]
    """Sums of the token histograms by type."""
    requests: Counter[str]
    """By kind; but for cancelling."""
    within: set[str] = field(default_factory=set)
    """Ids of the spans that were current while the client sent its requests."""


class World:
    """One for a file of tests; cases run in it one after the other."""

    def __init__(self, surfaces: ModuleType, stack: ExitStack) -> None:
        self._module = surfaces
        self.fake = FakeReplicate(
            ScriptedEngine([ANSWER]), deployments={DEPLOYMENT: MODEL}, limits=LIMITS
        )
        self.sink = OTLPSink()
        self.url = stack.enter_context(serve_in_thread(self.fake)).url
        sink = stack.enter_context(serve_in_thread(self.sink)).url
        stack.enter_context(surfaces.module_client(self.url))

        def pipeline(**known: Any) -> Pipeline:
            return stack.enter_context(running_pipeline(settings(a=sink, **known)))

        self._levels = {level: pipeline(level=level) for level in CaptureLevel}
        self._unsampled = pipeline(ratio=0.0)
        self._bare: dict[Case, Recorded] = {}

    def bare(self, case: Case) -> Recorded:
        """The case on the client as it is; nothing of ours around it."""
        if case not in self._bare:
            instrument.uninstall()
            self._bare[case] = self._run(case, None)
        return self._bare[case]

    def observed(self, case: Case, level: CaptureLevel = CaptureLevel.FULL) -> Recorded:
        """The case on the client that we record."""
        instrument.install()
        unsampled = case.ending.under == "unsampled"
        pipeline = self._unsampled if unsampled else self._levels[level]
        before = gate.count
        patch.connect(pipeline)
        try:
            recorded = self._run(case, pipeline)
        finally:
            patch.connect(None)
        assert gate.count == before, gate.last
        return recorded

    def _run(self, case: Case, pipeline: Pipeline | None) -> Recorded:
        self.sink.clear()
        self.fake.clear_script()
        self.fake.script(case.fault)
        seen, within = Seen(), set[str]()
        self.fake.requests.clear()
        with _under(case, pipeline):
            self._drive(case, seen, within, pipeline)
        if case.ending.how == "cancel":
            gc.collect()  # the error of a cancelled task and its frames hold each other
        self._let_go()
        _flush(pipeline)
        return self._recorded(seen, within, self._requests())

    def _drive(self, case: Case, seen: Seen, within: set[str], pipeline: Pipeline | None) -> None:
        def sends(request: httpx.Request) -> None:
            if request.url.path.partition("/v1/")[2].split("/")[0] != "models":
                within.add(f"{get_current_span().get_span_context().span_id:016x}")

        surface, ending = case
        nested = ending.under == "nested"
        if surface.is_async:
            asyncio.run(self._adrive(case, seen, {"request": [_awaited(sends)] if nested else []}))
            return
        hooks = {"event_hooks": {"request": [sends]}} if nested else {}
        with self._module.client(self.url, **hooks) as client:
            drive(surface, ending.how, self._situation(case, client), seen)
            _flush(pipeline)  # an app's client is still there when numbers are asked for by it

    async def _adrive(self, case: Case, seen: Seen, hooks: Any) -> None:
        options = {"event_hooks": hooks} if hooks["request"] else {}
        async with (
            self._module.async_module_client(),
            self._module.async_client(self.url, **options) as client,
        ):
            situation = self._situation(case, client)
            await drive_async(case.surface, case.ending.how, situation, seen, self._stuck)

    def _situation(self, case: Case, client: Any) -> Situation:
        given = {**ASKED, **case.ending.given()}
        return Situation(self.url, client, given, dict(case.ending.params))

    def _stuck(self) -> bool:
        hangs = (each for each in self.fake.predictions if not each.terminal)
        return any(len(each.output) == each.fault.hang_after for each in hangs)

    def _requests(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for key, number in self.fake.requests.items():
            kind = next((kind for kind, pattern in _KINDS.items() if re.match(pattern, key)), key)
            found[kind] += number
        del found["cancel"]
        return found

    def _let_go(self) -> None:
        """Cancel what the case left running on the server."""
        for each in self.fake.predictions:
            if not each.terminal:
                httpx.post(f"{self.url}/v1/predictions/{each.id}/cancel").raise_for_status()

    def _recorded(self, seen: Seen, within: set[str], requests: Counter[str]) -> Recorded:
        counts: Counter[str] = Counter()
        tokens: dict[str, float] = {}
        for metric in self.sink.metrics():
            for point in metric.histogram.data_points:
                counts[metric.name] += point.count
                if metric.name == "gen_ai.client.token.usage":
                    kind = {a.key: a.value.string_value for a in point.attributes}
                    which = kind["gen_ai.token.type"]
                    tokens[which] = tokens.get(which, 0) + point.sum
        durations, firsts = (counts[f"gen_ai.client.operation.{name}"] for name in _TIMES)
        return Recorded(seen, self.sink.spans(), durations, firsts, tokens, requests, within)


def _flush(pipeline: Pipeline | None) -> None:
    assert pipeline is None or pipeline.flush(PATIENCE_S)


def _awaited(function: Callable[[httpx.Request], None]) -> Callable[[httpx.Request], Any]:
    async def awaited(request: httpx.Request) -> None:
        function(request)

    return awaited


@contextmanager
def _under(case: Case, pipeline: Pipeline | None) -> Iterator[None]:
    circumstance: AbstractContextManager[Any] = nullcontext()
    if pipeline is not None and case.ending.under == "suppressed":
        circumstance = suppress_tracing()
    if pipeline is not None and case.ending.under == "nested":
        tracer = pipeline.tracer_provider.get_tracer(OTHER_SCOPE)
        circumstance = tracer.start_as_current_span("chain")
    with circumstance:
        yield
