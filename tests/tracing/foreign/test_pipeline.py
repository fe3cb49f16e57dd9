"""The pipeline of a process whose tracer provider is not ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from llm_observe.settings.model import (
    Capture,
    CaptureLevel,
    CaptureRule,
    Destination,
    Grant,
    Matcher,
    Sampling,
    Settings,
)
from llm_observe.testing import OTLPSink, serve_in_thread
from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.foreign.pipeline import ForeignPipeline
from llm_observe.tracing.pipeline import Pipeline

SECRET = "the-launch-code"
LONG_S = 30.0
NAME = "opentelemetry.sdk.trace.TracerProvider"


@pytest.fixture
def sink() -> Iterator[tuple[OTLPSink, str]]:
    app = OTLPSink()
    with serve_in_thread(app) as server:
        yield app, server.url


class Place:
    """An app with a provider of its own, and our pipeline on it."""

    def __init__(self, url: str = "", level: str = "full", sampler: Sampler = ALWAYS_ON) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        destinations = {"control-plane": Destination(endpoint=url)} if url else {}
        self.settings = Settings(
            capture=Capture(level=CaptureLevel(level)), destinations=destinations
        )
        own = Pipeline(Resource.get_empty(), self.settings, "first")
        self.pipeline = ForeignPipeline(self.provider, own)

    def record(self, **fields: Any) -> Call:
        call = Call(
            provider="replicate",
            request_model="llama",
            input=[Message("user", SECRET)],
            **fields,
        )
        self.pipeline.finish(self.pipeline.start(call), call)
        return call

    def close(self) -> None:
        self.pipeline.shutdown()
        self.provider.shutdown()


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.close()


def with_level(settings: Settings, level: str) -> Settings:
    return replace(settings, capture=Capture(level=CaptureLevel(level)))


def test_a_call_is_in_the_apps_backend_and_in_ours_under_the_same_ids(
    sink: tuple[OTLPSink, str],
) -> None:
    app, url = sink
    here = Place(url)
    with here.provider.get_tracer("app").start_as_current_span("request"):
        here.record(input_tokens=4)
    assert here.pipeline.flush(LONG_S)
    child, _ = here.exporter.get_finished_spans()
    (copy,) = app.spans()
    assert child.context is not None
    assert child.parent is not None
    assert int.from_bytes(copy.span_id) == child.context.span_id
    assert int.from_bytes(copy.trace_id) == child.context.trace_id
    assert int.from_bytes(copy.parent_span_id) == child.parent.span_id
    assert copy.name == child.name == "chat llama"
    assert (copy.start_time_unix_nano, copy.end_time_unix_nano) == (
        child.start_time,
        child.end_time,
    )
    attributes = {item.key: item.value for item in copy.attributes}
    assert attributes["gen_ai.usage.input_tokens"].int_value == 4
    assert attributes["llm_observe.config.hash"].string_value == "first"
    assert here.pipeline.status().calls == 1
    here.close()


def test_a_capture_rule_by_service_or_by_what_others_said_holds_on_both_ways_out(
    sink: tuple[OTLPSink, str],
) -> None:
    app, url = sink
    here = Place(url)
    here.pipeline.rename(Resource({"service.name": "billing"}))
    match = Matcher(service="billing", attributes={"tenant": "blue"})
    rules = {"none": CaptureRule(match=match, level=CaptureLevel.OFF)}
    ruled = replace(here.settings, capture=replace(here.settings.capture, rules=rules))
    assert not here.pipeline.apply(ruled, "second").problems
    call = Call(provider="replicate", request_model="llama", input=[Message("user", SECRET)])
    span = here.pipeline.start(call)
    span.set_attribute("tenant", "blue")
    here.pipeline.finish(span, call)
    step = {"input.value": SECRET, "tenant": "blue"}
    here.pipeline.end_step(here.pipeline.start_step("step", Context(), step, ()), step, None)
    assert here.pipeline.flush(LONG_S)
    assert len(here.exporter.get_finished_spans()) == len(app.spans()) == 2
    assert SECRET not in str([dict(x.attributes or {}) for x in here.exporter.get_finished_spans()])
    assert SECRET not in str(app.spans())
    here.close()


def test_what_the_apps_sampler_drops_is_nowhere_but_in_the_metrics(
    sink: tuple[OTLPSink, str],
) -> None:
    app, url = sink
    here = Place(url, sampler=ALWAYS_OFF)
    here.record()
    assert here.pipeline.flush(LONG_S)
    assert not app.spans()
    assert not here.exporter.get_finished_spans()
    assert "gen_ai.client.operation.duration" in {point.name for point in app.metrics()}
    here.close()


class TestApply:
    def test_a_lower_level_holds_at_once_and_is_confirmed(self, place: Place) -> None:
        applied = place.pipeline.apply(with_level(place.settings, "off"), "second")
        assert applied.problems == ()
        assert applied.settings.capture.level is CaptureLevel.OFF
        place.record()
        (span,) = place.exporter.get_finished_spans()
        assert SECRET not in span.to_json()
        assert (span.attributes or {})["llm_observe.config.hash"] == "second"

    def test_a_higher_level_holds_too(self) -> None:
        here = Place(level="metadata")
        assert not here.pipeline.apply(with_level(here.settings, "full"), "second").problems
        here.record()
        assert SECRET in here.exporter.get_finished_spans()[0].to_json()
        here.close()

    def test_a_rule_by_route_is_refused_since_others_spans_may_stand_between(
        self, place: Place
    ) -> None:
        rules = {"r": CaptureRule(match=Matcher(route="/chat"), level=CaptureLevel.OFF)}
        wanted = replace(place.settings, capture=replace(place.settings.capture, rules=rules))
        (problem,) = place.pipeline.apply(wanted, "second").problems
        assert problem.path == "capture.rules.r.match.route"
        assert "not enforceable here" in problem.expected

    def test_sampling_is_refused_with_the_reason(self, place: Place) -> None:
        wanted = replace(place.settings, sampling=Sampling(ratio=0.5))
        applied = place.pipeline.apply(wanted, "second")
        (problem,) = applied.problems
        assert str(problem) == (
            "sampling.ratio: found 0.5, expected 1.0, as it is; not enforceable here: "
            f"{NAME} is not llm-observe's and keeps its own rules"
        )
        assert applied.settings.sampling.ratio == 1.0
        assert place.pipeline.config_hash == "first"

    def test_a_grant_is_refused_since_nobody_knows_how_long_spans_are_held(
        self, place: Place
    ) -> None:
        capture = Capture(grants={"g": Grant(until="2100-01-01T00:00:00Z")})
        applied = place.pipeline.apply(replace(place.settings, capture=capture), "second")
        assert {problem.path for problem in applied.problems} >= {"capture.grants.g.until"}
        assert "not enforceable here" in str(applied.problems[0])
        assert applied.settings.capture.grants == {}

    def test_a_destination_is_refused_key_by_key(self, place: Place) -> None:
        there = Destination(endpoint="http://127.0.0.1:9")
        wanted = replace(place.settings, destinations={"other": there})
        applied = place.pipeline.apply(wanted, "second")
        paths = {problem.path for problem in applied.problems}
        assert "destinations.other.endpoint" in paths
        assert all("not enforceable here" in problem.expected for problem in applied.problems)
        assert applied.settings == place.settings

    def test_what_is_tighter_holds_although_the_rest_is_refused(
        self, sink: tuple[OTLPSink, str]
    ) -> None:
        app, url = sink
        here = Place(url)
        off = Destination(endpoint=url, enabled=False)
        wanted = replace(
            with_level(here.settings, "off"),
            sampling=Sampling(ratio=0.0),
            destinations={"control-plane": off},
        )
        applied = here.pipeline.apply(wanted, "second")
        assert {p.path for p in applied.problems} == {
            "sampling.ratio", "destinations.control-plane.enabled"
        }  # fmt: skip
        assert applied.settings.capture.level is CaptureLevel.OFF
        here.record()
        assert here.pipeline.flush(LONG_S)
        assert not app.spans()
        assert SECRET not in here.exporter.get_finished_spans()[0].to_json()
        here.close()


class Slow(InMemorySpanExporter):
    """Exports when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        self.let.wait(LONG_S)
        return super().export(spans)


class TestATighteningIsTrue:
    def held(self, exporter: Slow) -> Place:
        here = Place()
        batch = BatchSpanProcessor(exporter, schedule_delay_millis=60_000)
        here.provider.add_span_processor(batch)
        here.record()
        return here

    def test_only_when_what_the_provider_held_has_left(self) -> None:
        exporter = Slow()
        exporter.let.set()
        here = self.held(exporter)
        assert not here.pipeline.apply(with_level(here.settings, "off"), "second").problems
        assert len(exporter.get_finished_spans()) == 1
        here.close()

    def test_and_is_a_problem_while_it_may_still_leave(self) -> None:
        exporter = Slow()
        here = self.held(exporter)
        lower = with_level(here.settings, "off")
        applied = here.pipeline.apply(lower, "second", timeout_s=0.2)
        assert [p.path for p in applied.problems] == ["capture"]
        assert "may still hold" in applied.problems[0].found
        assert applied.settings.capture.level is CaptureLevel.OFF
        exporter.let.set()
        assert not here.pipeline.apply(lower, "second").problems
        here.close()

    def test_and_a_call_that_is_being_ended_is_waited_for(self) -> None:
        inside, let = threading.Event(), threading.Event()

        class Blocking(InMemorySpanExporter):
            def export(self, spans: Any) -> SpanExportResult:
                inside.set()
                let.wait(LONG_S)
                return super().export(spans)

        here, exporter = Place(), Blocking()
        here.provider.add_span_processor(SimpleSpanProcessor(exporter))
        app = threading.Thread(target=here.record)
        app.start()
        assert inside.wait(LONG_S)
        applied = here.pipeline.apply(with_level(here.settings, "off"), "second", timeout_s=0.2)
        assert [p.path for p in applied.problems] == ["capture"]
        let.set()
        app.join()
        assert not here.pipeline.apply(with_level(here.settings, "off"), "second").problems
        here.close()


def test_a_renamed_process_and_a_new_hash_reach_both_ways_out(sink: tuple[OTLPSink, str]) -> None:
    app, url = sink
    here = Place(url)
    here.pipeline.config_hash = "third"
    here.pipeline.rename(Resource({"service.instance.id": "new-instance"}))
    here.record()
    assert here.pipeline.flush(LONG_S)
    assert app.holds("new-instance")
    assert app.holds("third")
    assert here.exporter.get_finished_spans()[0].attributes["llm_observe.config.hash"] == "third"  # type: ignore[index]  # it has attributes
    here.close()


def test_shutdown_leaves_the_provider_running(place: Place) -> None:
    place.pipeline.shutdown()
    place.provider.get_tracer("app").start_span("later").end()
    assert [span.name for span in place.exporter.get_finished_spans()] == ["later"]


def test_a_flush_tells_when_time_ran_out() -> None:
    exporter = Slow()
    here = Place()
    here.provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
    here.record()
    began = time.monotonic()
    assert not here.pipeline.flush(0.1)
    assert time.monotonic() - began < LONG_S
    exporter.let.set()
    assert here.pipeline.flush(LONG_S)
    here.close()
