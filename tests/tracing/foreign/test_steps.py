"""Steps and scores on a tracer provider that is not ours."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from llm_observe.settings.model import (
    Capture,
    CaptureLevel,
    CaptureRule,
    Conventions,
    Destination,
    Matcher,
    Settings,
)
from llm_observe.testing import OTLPSink, serve_in_thread
from llm_observe.tracing.around.context import context
from llm_observe.tracing.around.feedback import score
from llm_observe.tracing.around.steps import trace
from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.foreign.pipeline import ForeignPipeline
from llm_observe.tracing.foreign.recorder import ForeignRecorder
from llm_observe.tracing.gate import gate
from llm_observe.tracing.pipeline import Pipeline
from llm_observe.tracing.wrapping import patch
from tests.cli.plane import until

CANARY = "CANARY-1"


class Place:
    def __init__(self, level: str) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        settings = Settings(capture=Capture(level=CaptureLevel(level)))
        self.recorder = ForeignRecorder(settings, self.provider, config_hash="abc")

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def everything(self) -> str:
        return "".join(span.to_json() for span in self.spans)


@contextmanager
def place(level: str) -> Iterator[Place]:
    made = Place(level)
    gate.reraise = True
    patch.connect(made.recorder)
    try:
        yield made
    finally:
        patch.connect(None)
        gate.reraise = False
        made.recorder.shutdown()


def work() -> None:
    with context(session="s", metadata={"plan": "free"}), trace("turn") as step:
        step.input = CANARY
        step.set("custom", CANARY)
        with pytest.raises(LookupError), trace("inner", "tool"):
            raise LookupError(CANARY)
        score("helpful", 1, explanation=CANARY)


@pytest.mark.parametrize(
    ("level", "content", "session"),
    [("off", False, False), ("metadata", False, True), ("redacted", True, True), ("full", True, True)],
)  # fmt: skip
def test_only_what_the_level_allows_is_put_on_a_span(
    level: str, content: bool, session: bool
) -> None:
    with place(level) as here:
        work()
    inner, judged, turn = here.spans
    said = dict(turn.attributes or {})
    assert ("input.value" in said) == content
    assert ("session.id" in said) == session
    assert ("custom" in said) == (level == "full")
    assert (said["llm_observe.capture.level"], said["llm_observe.config.hash"]) == (level, "abc")
    assert inner.status.status_code is StatusCode.ERROR
    assert (inner.attributes or {})["error.type"] == "LookupError"
    assert ("annotations.0.annotation.score" in (judged.attributes or {})) == session
    assert len(judged.links) == 1
    assert ("metadata" in said) == session
    assert (CANARY in here.everything()) == content


class Mute(Exception):
    """Its text is code of the app that fails."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_that_has_no_text_is_an_error_all_the_same() -> None:
    with place("full") as here:
        with pytest.raises(Mute), trace("x"):
            raise Mute
        (span,) = here.spans
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "Mute")
    assert (span.events[0].attributes or {})["exception.type"] == f"{__name__}.Mute"


def test_a_level_lowered_while_a_step_runs_holds_at_its_end() -> None:
    with place("full") as here, trace("turn") as step:
        step.input = CANARY
        here.recorder.settings = Settings(capture=Capture(level=CaptureLevel.OFF))
    assert CANARY not in here.everything()


def test_names_follow_the_conventions_in_force() -> None:
    with place("full") as here:
        here.recorder.settings = replace(
            here.recorder.settings, conventions=Conventions(genai="1.36")
        )
        with trace("weather", "tool"):
            pass
    (span,) = here.spans
    assert (span.attributes or {})["gen_ai.tool.name"] == "weather"


def test_after_its_end_the_recorder_records_no_step() -> None:
    with place("full") as here:
        here.recorder.shutdown()
        with trace("x") as step:
            assert step.reference == ""
    assert here.spans == ()


def test_a_step_that_was_broken_off_ends_without_any_call_and_when_it_was_over() -> None:
    @trace("turn")
    def turn() -> Generator[int]:
        yield 1

    with place("full") as here:
        items = turn()
        next(items)
        items.close()
        over_ns = time.time_ns()
        until(lambda: here.spans)
        (span,) = here.spans
    assert span.end_time is not None
    assert span.end_time <= over_ns
    assert (span.attributes or {})["llm_observe.aborted"] is True


def test_an_unsampled_step_says_nothing() -> None:
    seen: list[Any] = []

    class Watched(dict[str, Any]):
        def items(self) -> Any:
            seen.append(1)
            return super().items()

    with place("full") as here:
        here.recorder._given = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        with trace("x") as step:
            step.input = Watched()
    assert not seen


def test_a_processor_that_raises_costs_the_control_plane_nothing() -> None:
    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("no")

    sink, before = OTLPSink(), gate.count
    with serve_in_thread(sink) as served:
        settings = Settings(destinations={"control-plane": Destination(endpoint=served.url)})
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(Broken())
        pipeline = ForeignPipeline(provider, Pipeline(Resource.get_empty(), settings, "abc"))
        patch.connect(pipeline)
        try:
            with trace("turn"):
                pass
            assert pipeline.flush(60)
        finally:
            patch.connect(None)
            pipeline.shutdown(10)
        assert [span.name for span in sink.spans()] == ["turn"]
    assert gate.count == before + 1
    gate.count = before


@pytest.mark.parametrize(("level", "content"), [("full", True), ("metadata", False)])
def test_the_control_plane_gets_a_copy_under_the_same_ids(level: str, content: bool) -> None:
    sink = OTLPSink()
    with serve_in_thread(sink) as served:
        settings = Settings(
            capture=Capture(level=CaptureLevel(level)),
            destinations={"control-plane": Destination(endpoint=served.url)},
        )
        provider = TracerProvider(shutdown_on_exit=False)
        pipeline = ForeignPipeline(provider, Pipeline(Resource.get_empty(), settings, "abc"))
        patch.connect(pipeline)
        try:
            with trace("turn") as step:
                step.input = CANARY
                with pytest.raises(LookupError), trace("inner"):
                    raise LookupError(CANARY)
            assert score("helpful", 1, target=step)
            assert pipeline.flush(60)
        finally:
            patch.connect(None)
            pipeline.shutdown(10)
        spans = {span.name: span for span in sink.spans()}
    assert set(spans) == {"turn", "inner", "score"}
    assert sink.holds(CANARY) == content
    reference = step.reference.split("-")
    assert spans["turn"].span_id.hex() == reference[2]
    assert spans["inner"].parent_span_id.hex() == reference[2]


def test_a_rule_by_route_of_the_apps_own_holds_for_a_step_and_a_call_inside() -> None:
    rules = {"r": CaptureRule(match=Matcher(route="/private"), level=CaptureLevel.OFF)}
    full = Settings(capture=Capture(level=CaptureLevel.FULL, rules=rules))
    for route, there in (("/private", False), ("/open", True)):
        with place("full") as here:
            here.recorder.settings = full
            server = here.provider.get_tracer("web").start_as_current_span(
                "GET", kind=SpanKind.SERVER, attributes={"http.route": route}
            )
            with server, trace("step") as step:
                step.input = CANARY
                call = Call(provider="replicate", input=[Message("user", CANARY)])
                here.recorder.finish(here.recorder.start(call), call)
            told = [span for span in here.spans if CANARY in span.to_json()]
            assert len(here.spans) == 3
            assert len(told) == (2 if there else 0)


def test_what_redaction_found_is_said_on_the_apps_own_spans() -> None:
    with place("redacted") as here:
        with trace("step") as step:
            step.input = "to joe@example.com"
            call = Call(provider="replicate", input=[Message("user", "ann@example.com")])
            here.recorder.finish(here.recorder.start(call), call)
        told = [(span.attributes or {})["llm_observe.redaction.finds.email"] for span in here.spans]
        assert told == [1, 1]
        assert "@example.com" not in here.everything()
