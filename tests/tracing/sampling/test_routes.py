"""Which web request a span belongs to."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.context import get_current
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    set_span_in_context,
    use_span,
)

from llm_observe.settings.model import KeepRules, Sampling
from llm_observe.tracing.sampling.routes import ROUTE, hand_on, route_of
from llm_observe.tracing.sampling.sampler import LiveSampler
from llm_observe.tracing.span import HeldCallSpan
from llm_observe.tracing.starting import Foreign, OwnProvider, Starter
from tests.tracing.export.drive import make_call

RESOURCE = Resource({"service.name": "tested"})


class App:
    """A provider of ours with one tracer of the app's, and what starts calls."""

    def __init__(self, sampling: Sampling = Sampling(), *, shared: bool = False) -> None:  # noqa: B008  # frozen
        sampler = LiveSampler(sampling)
        ignored = Foreign(lambda _: None, lambda _: None, lambda _: True, lambda: None)
        self.provider = OwnProvider(sampler, RESOURCE, ignored)
        if shared:
            self.provider.add_span_processor(SpanProcessor())
        self.tracer: Tracer = self.provider.get_tracer("web")
        self.starter = Starter(self.provider, sampler, RESOURCE)

    @contextmanager
    def inside(self, route: str = "", kind: SpanKind = SpanKind.SERVER) -> Iterator[Span]:
        told = {ROUTE: route} if route else None
        with self.tracer.start_as_current_span("GET", kind=kind, attributes=told) as span:
            yield span

    def call(self) -> Span:
        return self.starter.start(make_call(), get_current())


@pytest.fixture(params=["light", "by the SDK"])
def app(request: pytest.FixtureRequest) -> App:
    return App(shared=request.param != "light")


def test_a_call_in_a_request_has_its_route_through_any_number_of_steps(app: App) -> None:
    inner = SpanKind.INTERNAL
    with (
        app.inside("/chat/{id}") as request,
        app.inside(kind=inner) as step,
        app.inside(kind=inner),
    ):
        call = app.call()
    assert [route_of(span) for span in (call, step, request)] == ["/chat/{id}"] * 3


def test_the_request_nearest_around_counts(app: App) -> None:
    with app.inside("/outer"), app.inside("/inner"), app.inside(kind=SpanKind.INTERNAL):
        inner = app.call()
    with app.inside("/outer"), app.inside():
        unnamed = app.call()
    assert route_of(inner) == "/inner"
    assert route_of(unnamed) == ""


def test_a_root_that_is_no_server_may_tell_a_route_too(app: App) -> None:
    with app.inside("/task", SpanKind.CONSUMER), app.inside(kind=SpanKind.INTERNAL):
        assert route_of(app.call()) == "/task"


def test_a_route_that_is_known_late_is_read_when_it_is_asked_for(app: App) -> None:
    with app.inside() as request:
        call = app.call()
        assert route_of(call) == ""
        request.set_attribute(ROUTE, "/late")
    assert route_of(call) == "/late"


def test_a_call_by_itself_or_below_another_process_has_none(app: App) -> None:
    remote = NonRecordingSpan(SpanContext(1, 2, True, TraceFlags(1)))
    with use_span(remote):
        below = app.call()
    assert [route_of(span) for span in (app.call(), below, remote, INVALID_SPAN)] == [""] * 4


def test_a_trace_that_may_yet_be_kept_knows_its_route_too() -> None:
    app = App(Sampling(ratio=0.000001, keep=KeepRules(errors=True)))
    with app.inside("/chat"):
        held = app.call()
    assert isinstance(held, HeldCallSpan)
    assert route_of(held) == "/chat"


def test_a_route_that_is_no_text_is_none(app: App) -> None:
    with app.tracer.start_as_current_span("GET", attributes={ROUTE: 7}):
        assert route_of(app.call()) == ""


def test_spans_that_begin_inside_each_other_for_ever_are_no_leak(app: App) -> None:
    """As where a context is attached again and again, and never detached."""
    for kind in (SpanKind.SERVER, SpanKind.INTERNAL):
        span, seen = app.tracer.start_span("first"), []
        for _ in range(20):
            here = set_span_in_context(span)
            span = app.tracer.start_span("next", here, kind=kind)
            seen.append(weakref.ref(span))
        gc.collect()
        assert sum(one() is not None for one in seen) <= 2


def test_a_copy_belongs_where_its_span_does(app: App) -> None:
    with app.inside("/chat"):
        span, copy = app.call(), ReadableSpan("copy")
    hand_on(span, copy)
    hand_on(INVALID_SPAN, copy)
    assert route_of(copy) == "/chat"
