"""Keep rules in a pipeline: what the share dropped is exported for how it went, over real connections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import Status, StatusCode, use_span

from llm_observe.settings.model import (
    CaptureLevel,
    KeepRules,
    Sampling,
    SamplingRule,
    Settings,
    TraceMatcher,
)
from llm_observe.tracing.around.feedback import score
from llm_observe.tracing.around.steps import trace
from llm_observe.tracing.pipeline import Pipeline
from llm_observe.tracing.wrapping.recorder import connect
from tests.tracing.export.drive import (
    PATIENCE_S,
    attributes,
    make_call,
    record,
    running_pipeline,
    settings,
)
from tests.tracing.export.sink import Sink, running_sink

RARE = 1e-9
"""A share that chooses none of a few hundred traces, and is not off."""


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink


def keeping(sink: Sink, ratio: float = RARE, **rules: Any) -> Settings:
    sampling = Sampling(ratio=ratio, keep=KeepRules(**rules))
    return replace(settings(a=sink.url), sampling=sampling)


def failing(pipeline: Pipeline) -> None:
    record(pipeline, make_call(error_type="ModelError"))


def turn(pipeline: Pipeline, error: bool) -> int:
    """A step of the app with two calls inside; its trace id."""
    with pipeline.tracer_provider.get_tracer("app").start_as_current_span("turn") as root:
        record(pipeline)
        record(pipeline, make_call(error_type="ModelError" if error else ""))
    return root.get_span_context().trace_id


def test_every_error_is_kept_at_a_share_of_one_in_a_hundred_and_every_trace_is_whole(
    sink: Sink,
) -> None:
    with running_pipeline(keeping(sink, 0.01, errors=True)) as pipeline:
        failed = {turn(pipeline, True) for _ in range(60)}
        fine = {turn(pipeline, False) for _ in range(240)}
        assert pipeline.flush(PATIENCE_S)
        status = pipeline.status()
    arrived = Counter(int.from_bytes(span.trace_id, "big") for span in sink.spans)
    assert failed <= set(arrived)
    assert set(arrived.values()) == {3}
    assert len(fine & set(arrived)) < 40
    assert status.calls == 600
    assert status.sampled_out == 2 * len(fine - set(arrived))
    assert (status.held, status.unjudged) == (0, 0)
    late = [span for span in sink.spans if "llm_observe.sampling.kept" in attributes(span)]
    assert len(late) == 3 * status.kept
    assert {attributes(span)["llm_observe.sampling.kept"] for span in late} == {"errors"}
    assert {span.trace_state for span in late} == {""}
    chosen = [span for span in sink.spans if span not in late]
    assert {span.trace_state for span in chosen} <= {"ot=th:fd70a3d70a3d71"}


def test_a_share_of_zero_is_off_whatever_is_kept(sink: Sink) -> None:
    with running_pipeline(keeping(sink, 0.0, errors=True)) as pipeline:
        failing(pipeline)
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.status().sampled_out == 1
    assert sink.spans == []


def test_so_is_the_share_of_a_rule(sink: Sink) -> None:
    begin = keeping(sink, errors=True)
    rule = SamplingRule(match=TraceMatcher(model="*llama*"), ratio=0)
    begin = replace(begin, sampling=replace(begin.sampling, rules={"r": rule}))
    with running_pipeline(begin) as pipeline:
        failing(pipeline)
        assert pipeline.flush(PATIENCE_S)
    assert sink.spans == []


def test_what_the_bound_on_traces_a_second_dropped_is_kept_for_an_error(sink: Sink) -> None:
    begin = keeping(sink, 1.0, errors=True)
    begin = replace(begin, sampling=replace(begin.sampling, per_second=0.001))
    with running_pipeline(begin) as pipeline:
        for _ in range(5):
            failing(pipeline)
        assert pipeline.flush(PATIENCE_S)
    assert len(sink.spans) == 5


def test_a_held_trace_tells_others_that_it_is_not_sampled(sink: Sink) -> None:
    with running_pipeline(keeping(sink, errors=True)) as pipeline:
        span = pipeline.start(make_call())
        assert span.is_recording()
        assert not span.get_span_context().trace_flags.sampled
        span.end()


def test_calls_that_the_sdk_made_for_a_processor_of_the_apps_own_are_held_too(sink: Sink) -> None:
    with running_pipeline(keeping(sink, errors=True)) as pipeline:
        pipeline.tracer_provider.add_span_processor(SpanProcessor())
        record(pipeline)
        turn(pipeline, True)
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.status().sampled_out == 1
    assert len(sink.spans) == 3


def test_a_call_that_ends_after_its_step_is_waited_for(sink: Sink) -> None:
    with running_pipeline(keeping(sink, errors=True)) as pipeline:
        root = pipeline.tracer_provider.get_tracer("app").start_span("turn")
        with use_span(root):
            call = make_call(error_type="ModelError")
            span = pipeline.start(call)
        root.end()
        assert pipeline.flush(PATIENCE_S)
        assert (sink.spans, pipeline.status().held) == ([], 1)
        call.end_ns = call.now()
        pipeline.finish(span, call)
        assert pipeline.flush(PATIENCE_S)
    assert sorted(span.name for span in sink.spans) == ["chat meta/llama-2-7b-chat", "turn"]


def test_at_shutdown_what_is_there_of_a_trace_is_judged(sink: Sink) -> None:
    with running_pipeline(keeping(sink, errors=True)) as pipeline:
        root = pipeline.tracer_provider.get_tracer("app").start_span("turn")
        with use_span(root):
            failing(pipeline)
    assert [span.name for span in sink.spans] == ["chat meta/llama-2-7b-chat"]


def test_a_score_given_inside_keeps_the_trace_and_goes_with_it(sink: Sink) -> None:
    with running_pipeline(keeping(sink, score_under=0.5)) as pipeline:
        connect(pipeline)
        try:
            for value in (0.9, 0.1):
                with trace("turn"):
                    assert score("helpful", value)
        finally:
            connect(None)
        assert pipeline.flush(PATIENCE_S)
    kept = {span.name: attributes(span) for span in sink.spans}
    assert set(kept) == {"turn", "score"}
    assert kept["score"]["annotations.0.annotation.score"] == 0.1


def test_a_span_of_others_with_a_status_of_error_keeps_its_trace(sink: Sink) -> None:
    with running_pipeline(keeping(sink, errors=True)) as pipeline:
        tracer = pipeline.tracer_provider.get_tracer("web")
        for code in (StatusCode.OK, StatusCode.ERROR):
            with tracer.start_as_current_span(str(code)) as span:
                span.set_status(Status(code))
        assert pipeline.flush(PATIENCE_S)
    assert [span.name for span in sink.spans] == ["StatusCode.ERROR"]


def test_rules_can_be_set_and_taken_back_in_the_middle_of_a_trace(sink: Sink) -> None:
    with running_pipeline(keeping(sink, errors=True)) as pipeline:
        tracer = pipeline.tracer_provider.get_tracer("app")
        with tracer.start_as_current_span("turn"):
            failing(pipeline)
            assert not pipeline.apply(keeping(sink), "hash-1").problems
        turn(pipeline, True)
        assert pipeline.flush(PATIENCE_S)
        assert (pipeline.status().held, pipeline.status().sampled_out) == (0, 3)
    assert sink.spans == []


def test_what_is_held_leaves_under_the_capture_level_in_force_then(sink: Sink) -> None:
    begin = keeping(sink, errors=True)
    with running_pipeline(begin) as pipeline:
        with pipeline.tracer_provider.get_tracer("app").start_as_current_span("turn"):
            failing(pipeline)
            after = replace(begin, capture=settings(level=CaptureLevel.OFF).capture)
            assert not pipeline.apply(after, "hash-1").problems
        assert pipeline.flush(PATIENCE_S)
    assert len(sink.spans) == 2
    assert not any("canary" in str(span) for span in sink.spans)
