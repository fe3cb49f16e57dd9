"""The light span of a call, held against the SDK's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    use_span,
)

from llm_observe.tracing.call import Call, start_attributes
from llm_observe.tracing.span import CallSpan, Origin
from tests.tracing.export.drive import make_call

LIMITS = SpanLimits(max_span_attributes=20, max_events=2, max_links=2, max_attribute_length=40)
RESOURCE = Resource({"service.name": "tested"})
CONTEXT = SpanContext(2**100 + 5, 77, False, TraceFlags(1))
OTHER = SpanContext(2**90, 78, True, TraceFlags(1))
READ = [
    "name",
    "kind",
    "status",
    "attributes",
    "events",
    "links",
    "end_time",
    "start_time",
    "dropped_attributes",
    "dropped_events",
    "dropped_links",
]


def light(call: Call | None = None, parent: SpanContext | None = None) -> CallSpan:
    origin = Origin(InstrumentationScope("llm_observe.calls"), RESOURCE, LIMITS)
    return CallSpan(origin, call or make_call(start_ns=10), CONTEXT, parent)


def of_the_sdk(call: Call) -> Span:
    provider = TracerProvider(resource=RESOURCE, span_limits=LIMITS, shutdown_on_exit=False)
    return provider.get_tracer("llm_observe.calls").start_span(
        call.name,
        kind=SpanKind.CLIENT,
        attributes=start_attributes(call),
        start_time=call.start_ns,
    )


def seen(span: Any) -> dict[str, Any]:
    found = {name: getattr(span, name) for name in READ}
    found["attributes"] = dict(found["attributes"])
    found["status"] = (span.status.status_code, span.status.description)
    found["links"] = [(link.context, dict(link.attributes)) for link in span.links]
    found["events"] = [(e.name, dict(e.attributes), e.timestamp) for e in span.events]
    return found


values = st.text(max_size=30) | st.integers() | st.booleans() | st.lists(st.text(max_size=3))
attributes = st.dictionaries(st.sampled_from(["a", "b", "gen_ai.system"]), values, max_size=3)
codes = st.sampled_from(StatusCode)
deeds: st.SearchStrategy[Callable[[Span], None]] = st.one_of(
    st.builds(lambda k, v: lambda s: s.set_attribute(k, v), st.sampled_from("cdef"), values),
    st.builds(lambda a: lambda s: s.set_attributes(a), attributes),
    st.builds(lambda a, t: lambda s: s.add_event("e", a, t), attributes, st.integers(1, 99)),
    st.builds(lambda a: lambda s: s.add_link(OTHER, a), attributes),
    st.builds(lambda n: lambda s: s.update_name(n), st.text(max_size=5)),
    st.builds(lambda c: lambda s: s.set_status(c, "why"), st.sampled_from([StatusCode.ERROR])),
    st.builds(lambda c: lambda s: s.set_status(Status(c)), codes),
    st.builds(lambda t: lambda s: s.end(t), st.integers(20, 30)),
)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None)
@given(st.lists(deeds, max_size=8))
def test_whatever_is_done_to_it_reads_as_if_done_to_the_sdks_span(
    done: list[Callable[[Span], None]],
) -> None:
    call = make_call(start_ns=10)
    ours, theirs = light(call), of_the_sdk(call)
    for deed in done:
        deed(ours)
        deed(theirs)
    ours.end(40)
    if theirs.is_recording():
        theirs.end(40)
    assert seen(ours) == seen(theirs)


def test_it_is_a_span_to_the_api_and_an_ended_span_to_the_sdk() -> None:
    span = light(parent=OTHER)
    assert isinstance(span, Span)
    assert isinstance(span, ReadableSpan)
    assert span.get_span_context() == span.context == CONTEXT
    assert (span.parent, span.kind) == (OTHER, SpanKind.CLIENT)
    assert (span.resource, span.instrumentation_scope.name) == (RESOURCE, "llm_observe.calls")
    printed = json.loads(span.to_json())
    assert printed["name"] == "chat meta/llama-2-7b-chat"
    assert "ask" not in span.to_json()


def test_its_first_end_is_its_end() -> None:
    span = light()
    assert span.is_recording()
    span.end(20)
    span.end(30)
    assert not span.is_recording()
    assert span.end_time == 20


def test_an_end_without_a_time_is_now() -> None:
    span = light()
    span.end()
    assert span.end_time is not None
    assert span.end_time > 1_700_000_000 * 10**9


def test_used_as_a_context_it_records_what_was_raised_and_lets_it_go_on() -> None:
    span = light()
    with pytest.raises(ValueError, match="no"), span:
        raise ValueError("no")
    (event,) = span.events
    found = dict(event.attributes or {})
    assert (found["exception.type"], found["exception.message"]) == ("ValueError", "no")
    assert found["exception.escaped"] == "True"
    assert span.status.description == "ValueError: no"
    assert span.end_time is not None


def test_made_current_by_the_api_it_behaves_as_any_span() -> None:
    span = light()
    with pytest.raises(LookupError), use_span(span, end_on_exit=True):
        raise LookupError("gone")
    assert [event.name for event in span.events] == ["exception"]
    assert span.status.status_code is StatusCode.ERROR


def test_an_exception_class_outside_the_builtins_has_its_module() -> None:
    span = light()
    span.record_exception(json.JSONDecodeError("m", "d", 0))
    assert dict(span.events[0].attributes or {})["exception.type"] == "json.decoder.JSONDecodeError"


def test_limits_hold_and_what_is_beyond_them_is_counted() -> None:
    span = light()
    for number in range(30):
        span.set_attribute(f"k{number}", "x" * 50)
        span.add_event("e")
        span.add_link(OTHER)
    assert (len(span.events), span.dropped_events) == (2, 28)
    assert (len(span.links), span.dropped_links) == (2, 28)
    assert span.dropped_attributes > 0
    assert all(len(str(v)) <= 40 for v in dict(span.attributes or {}).values())


def test_a_link_to_nowhere_that_says_nothing_is_left_out() -> None:
    span = light()
    span.add_link(SpanContext(0, 0, False))
    assert span.links == ()
    assert isinstance(Link(OTHER), Link)
