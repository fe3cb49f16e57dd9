"""An entry as the span that leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from llm_observe.settings.model import Capture, CaptureLevel, Redaction
from llm_observe.tracing.call import Call
from llm_observe.tracing.export import otlp
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.present import present, present_all
from llm_observe.tracing.rendering.privacy import Privacy
from llm_observe.tracing.span import CallSpan, Origin
from tests.tracing.export.drive import CANARY, make_call

LIMITS = SpanLimits(max_span_attributes=3, max_events=1)
TRACER = TracerProvider(shutdown_on_exit=False, span_limits=LIMITS).get_tracer("app", "1.2")
RESOURCE = Resource({"service.name": "renewed"})


def begun(**made: Any) -> Any:
    return TRACER.start_span("work", **made)


def ended(**made: Any) -> ReadableSpan:
    span = begun(**made)
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


def light() -> Any:
    origin = Origin(InstrumentationScope("llm_observe.calls"), RESOURCE, SpanLimits())
    context = SpanContext(3, 4, False, TraceFlags(1))
    return CallSpan(origin, Call(provider="replicate", request_model="m"), context, None)


def full_of_content() -> ReadableSpan:
    other = SpanContext(1, 2, False, TraceFlags(1))
    link = Link(other, {"input.value": CANARY})
    span = TRACER.start_span("work", links=[link])
    span.set_attribute("openinference.span.kind", "LLM")
    span.set_attribute("input.value", CANARY)
    span.set_attribute("app.own", CANARY)
    span.add_event("exception", {"exception.message": CANARY, "exception.type": "E"})
    span.set_status(Status(StatusCode.ERROR, CANARY))
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


@pytest.mark.parametrize("level", [CaptureLevel.OFF, CaptureLevel.METADATA])
def test_content_of_a_foreign_span_leaves_by_no_door(level: CaptureLevel) -> None:
    sent = present(Entry(full_of_content()), level, RESOURCE)
    assert CANARY.encode() not in otlp.traces([sent])
    assert sent.status.status_code is StatusCode.ERROR
    assert len(sent.links) == len(sent.events) == 1


def test_at_level_full_a_foreign_span_is_as_it_was() -> None:
    original = full_of_content()
    sent = present(Entry(original), CaptureLevel.FULL, RESOURCE)
    assert {**(sent.attributes or {})} == {
        **(original.attributes or {}),
        "llm_observe.capture.level": "full",
    }
    assert sent.status.description == CANARY
    assert sent.events[0].attributes == original.events[0].attributes


def test_identity_times_scope_and_lost_counts_are_kept() -> None:
    original = ended(attributes={str(n): n for n in range(5)})
    sent = present(Entry(original), CaptureLevel.FULL, RESOURCE)
    assert sent.get_span_context() == original.get_span_context()
    assert (sent.start_time, sent.end_time) == (original.start_time, original.end_time)
    assert sent.instrumentation_scope == original.instrumentation_scope
    assert sent.dropped_attributes == original.dropped_attributes == 2
    assert sent.resource is RESOURCE


def test_the_span_itself_is_not_touched() -> None:
    original = full_of_content()
    before = {**(original.attributes or {})}
    present(Entry(original), CaptureLevel.OFF, RESOURCE)
    assert {**(original.attributes or {})} == before


def test_a_call_is_rendered_and_its_failure_becomes_the_status() -> None:
    call = make_call(error_type="ModelError", error_message="no")
    sent = present(Entry(ended(), call), CaptureLevel.FULL, RESOURCE)
    assert sent.status.description == "ModelError: no"
    assert [event.name for event in sent.events] == ["exception"]


@pytest.mark.parametrize("sort", [light, begun])
def test_what_others_say_about_a_call_while_it_runs_leaves_as_the_level_allows(
    sort: Callable[[], Any],
) -> None:
    span, other = sort(), SpanContext(1, 2, False, TraceFlags(1))
    span.set_attributes({"app.tier": CANARY, "http.status_code": 200, "gen_ai.system": "x"})
    span.add_event("exception", {"exception.message": CANARY, "exception.type": "E"}, 5)
    span.add_link(other, {"input.value": CANARY})
    span.set_status(Status(StatusCode.ERROR, CANARY))
    span.end()
    call = Call(provider="replicate", request_model="m")
    full = present(Entry(span, call), CaptureLevel.FULL, RESOURCE)
    found = dict(full.attributes or {})
    assert (found["app.tier"], found["http.status_code"]) == (CANARY, 200)
    assert (full.status.description, full.events[0].timestamp) == (CANARY, 5)
    assert (full.links[0].context, dict(full.links[0].attributes or {})) == (
        other,
        {"input.value": CANARY},
    )
    less = present(Entry(span, call), CaptureLevel.METADATA, RESOURCE)
    assert CANARY.encode() not in otlp.traces([less])
    assert dict(less.attributes or {})["http.status_code"] == 200
    assert less.status.status_code is StatusCode.ERROR
    assert len(less.events) == len(less.links) == 1


def test_the_calls_own_words_win_over_what_others_say() -> None:
    span = light()
    span.set_attribute("gen_ai.request.model", "another")
    span.set_status(Status(StatusCode.OK))
    span.end()
    call = make_call(error_type="ModelError", error_message="no")
    sent = present(Entry(span, call), CaptureLevel.FULL, RESOURCE)
    assert dict(sent.attributes or {})["gen_ai.request.model"] == "meta/llama-2-7b-chat"
    assert sent.status.description == "ModelError: no"


def test_a_batch_is_presented_whole_and_in_order() -> None:
    entries = [Entry(ended(attributes={"n": number})) for number in range(10)]
    privacy = Privacy(Capture(level=CaptureLevel.FULL), Redaction(), {})
    found = [*present_all(entries, privacy, RESOURCE)]
    assert [(span.attributes or {})["n"] for span in found] == [*range(10)]
