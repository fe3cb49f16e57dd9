"""Spans of calls begin light or by the SDK, with the same identity."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SDKSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from llm_observe.settings.model import Sampling
from llm_observe.tracing.sampling.sampler import LiveSampler
from llm_observe.tracing.span import CallSpan
from llm_observe.tracing.starting import OwnProvider, Starter, is_sampled
from tests.tracing.export.drive import make_call

RESOURCE = Resource({"service.name": "tested"})


class Counting(RandomIdGenerator):
    """Ids that can be told beforehand."""

    def __init__(self, random: bool = True) -> None:
        self.random, self.last = random, 0

    def generate_span_id(self) -> int:
        self.last += 1
        return self.last

    def generate_trace_id(self) -> int:
        return 1000 + self.generate_span_id()

    def is_trace_id_random(self) -> bool:
        return self.random


class Listening(SpanProcessor):
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.over: list[str] = []

    def on_start(self, span: SDKSpan, parent_context: Context | None = None) -> None:
        self.begun.append(span.name)

    def on_end(self, span: ReadableSpan) -> None:
        self.over.append(span.name)


def starter(
    ratio: float = 1.0, shared: bool = False, random: bool = True
) -> tuple[Starter, OwnProvider]:
    sampler = LiveSampler(Sampling(ratio=ratio))
    provider = OwnProvider(sampler, RESOURCE, SpanProcessor())
    provider.id_generator = Counting(random)
    if shared:
        provider.add_span_processor(SpanProcessor())
    return Starter(provider, sampler, RESOURCE), provider


def identity(span: Span) -> tuple[object, ...]:
    context = span.get_span_context()
    return (*context, int(context.trace_flags), span.is_recording(), getattr(span, "parent", None))


parents = st.none() | st.builds(
    lambda trace, span, remote, flags, state: SpanContext(
        trace, span, remote, TraceFlags(flags), state
    ),
    st.integers(0, 2),
    st.integers(0, 2),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([TraceState(), TraceState([("vendor", "x")])]),
)


@settings(deadline=None)
@given(parents, st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
def test_a_light_span_has_the_identity_that_the_sdk_would_give_it(
    parent: SpanContext | None, ratio: float, random: bool
) -> None:
    here = Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())
    ours = starter(ratio, random=random)[0].start(make_call(), here)
    theirs = starter(ratio, shared=True, random=random)[0].start(make_call(), here)
    assert isinstance(ours, CallSpan) == is_sampled(ours)
    assert not isinstance(theirs, CallSpan)
    assert identity(ours) == identity(theirs)
    assert is_sampled(ours) == is_sampled(theirs)


def test_a_processor_of_the_apps_own_sees_calls_that_begin_after_it_was_added() -> None:
    made, provider = starter()
    listening = Listening()
    before = made.start(make_call(), Context())
    provider.add_span_processor(listening)
    after = made.start(make_call(), Context())
    before.end()
    after.end()
    assert isinstance(before, CallSpan)
    assert listening.begun == listening.over == ["chat meta/llama-2-7b-chat"]


@pytest.fixture
def disabled(monkeypatch: pytest.MonkeyPatch) -> Starter:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    return starter()[0]


def test_a_disabled_sdk_records_no_call(disabled: Starter) -> None:
    span = disabled.start(make_call(), Context())
    assert not span.is_recording()
    assert not is_sampled(span)


def test_a_process_described_anew_is_so_on_spans_that_begin_afterwards() -> None:
    _, provider = starter()
    tracer = provider.get_tracer("app")
    provider.rename(Resource({"service.name": "child"}))
    for made in (tracer, provider.get_tracer("another")):
        span = made.start_span("s")
        assert isinstance(span, ReadableSpan)
        assert span.resource.attributes["service.name"] == "child"
