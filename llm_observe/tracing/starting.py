"""Where spans begin: those of our calls, made here, and those that others make on our provider."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeGuard

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace import Span as SDKSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
)

from llm_observe.tracing.call import SCOPE, Call, start_attributes
from llm_observe.tracing.contexts import has_span
from llm_observe.tracing.sampling.routes import remember
from llm_observe.tracing.sampling.sampler import LiveSampler
from llm_observe.tracing.sampling.subjects import service_of
from llm_observe.tracing.span import CallSpan, HeldCallSpan, Origin
from llm_observe.version import __version__

MOST_ATTRIBUTES = 10_000
"""A long chat has more attributes than the SDK's 128, which would push the oldest out."""

_SAMPLE, _DROP = Decision.RECORD_AND_SAMPLE, Decision.DROP
_SAMPLED = int(TraceFlags.SAMPLED)
_RANDOM = int(getattr(TraceFlags, "RANDOM_TRACE_ID", 0))  # unknown to older SDKs
_FLAGS = tuple(TraceFlags(number) for number in range((_SAMPLED | _RANDOM) + 1))


class Valve(Sampler):
    """Asks our sampler, unless it is shut: then nothing that anybody begins is recorded.

    Calls through our own wrappers do not come here. Those are shut by themselves.
    """

    def __init__(self, inside: Sampler) -> None:
        self.shut = False
        self._inside = inside

    def should_sample(
        self, parent_context: Context | None, trace_id: int, *args: Any, **kwargs: Any
    ) -> SamplingResult:
        """Drop it, whatever its parent; or as our sampler says."""
        if self.shut:
            state = get_current_span(parent_context).get_span_context().trace_state
            return SamplingResult(_DROP, None, state)
        return self._inside.should_sample(parent_context, trace_id, *args, **kwargs)

    def get_description(self) -> str:
        """As inside."""
        return self._inside.get_description()


class OwnProvider(TracerProvider):
    """The SDK's provider under our sampler, which knows whether others listen to its spans."""

    def __init__(self, sampler: LiveSampler, resource: Resource, processor: SpanProcessor) -> None:
        self.limits = SpanLimits(
            max_span_attributes=MOST_ATTRIBUTES, max_attributes=MOST_ATTRIBUTES
        )
        self.valve = Valve(sampler)
        super().__init__(self.valve, resource, shutdown_on_exit=False, span_limits=self.limits)
        super().add_span_processor(processor)
        self.shared = False

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Let a processor of the app's own see all spans, those of our calls included."""
        super().add_span_processor(span_processor)
        self.shared = True

    def after_fork_in_child(self, resource: Resource) -> None:
        """Another process: no thread that may hold a lock of the SDK's lives here."""
        if hasattr(self, "_tracers_lock"):  # since 1.41; renewed by the SDK itself since 1.45
            self._tracers_lock = threading.Lock()
        self.rename(resource)

    def rename(self, resource: Resource) -> None:
        """Describe the process anew, for spans that begin from now on."""
        self._resource = resource
        for tracer in tuple(getattr(self, "_tracers", {}).values()):  # kept since SDK 1.41
            tracer.resource = resource


class Starter:
    """Starts the spans of calls.

    They are light (`CallSpan`) unless somebody listens who expects the SDK's: then they are
    made by the SDK. Identity, parent, flags and trace state are the same either way.
    """

    def __init__(self, provider: OwnProvider, sampler: LiveSampler, resource: Resource) -> None:
        self._provider, self._sampler = provider, sampler
        sampler.service = service_of(resource)
        self._tracer = provider.get_tracer(SCOPE, __version__)
        self._disabled = not isinstance(self._tracer, Tracer)  # OTEL_SDK_DISABLED
        self._ids = provider.id_generator
        self._random = _randomness(self._ids)
        self._origin = Origin(InstrumentationScope(SCOPE, __version__), resource, provider.limits)

    def start(self, call: Call, here: Context) -> Span:
        """A span for this call, child of the context's span."""
        if self._disabled or self._provider.shared:
            return self._by_the_sdk(call, here)
        if has_span(here):
            around = get_current_span(here)
            parent = around.get_span_context()
            if parent.is_valid:
                random = parent.trace_flags & _RANDOM
                span = self._light(call, here, parent.trace_id, random, parent)
                remember(span, around)
                return span
        ids = self._provider.id_generator
        if ids is not self._ids:
            self._ids, self._random = ids, _randomness(ids)
        return self._light(call, here, ids.generate_trace_id(), self._random, None)

    def _light(
        self, call: Call, here: Context, trace_id: int, random: int, parent: SpanContext | None
    ) -> Span:
        decision, state = self._sampler.decide(
            trace_id, parent, here, lambda: start_attributes(call)
        )
        sampled = decision is _SAMPLE
        span_id = self._provider.id_generator.generate_span_id()
        context = SpanContext(trace_id, span_id, False, _FLAGS[sampled | random], state)
        if sampled:
            return CallSpan(self._origin, call, context, parent)
        if decision is _DROP:
            return NonRecordingSpan(context)
        self._sampler.held.began(context)
        return HeldCallSpan(self._origin, call, context, parent)

    def _by_the_sdk(self, call: Call, here: Context) -> Span:
        span = self._tracer.start_span(
            call.name,
            here,
            kind=SpanKind.CLIENT,
            attributes=start_attributes(call),
            start_time=call.start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        if span.is_recording() and not is_sampled(span):
            self._sampler.held.began(span.get_span_context())
        return span


class Foreign(SpanProcessor):
    """Spans of other instrumentors on our provider; those of our calls come by `Pipeline.finish`."""

    def __init__(
        self,
        started: Callable[[SDKSpan], None],
        ended: Callable[[ReadableSpan], None],
        flush: Callable[[float], bool],
        shutdown: Callable[[], None],
    ) -> None:
        self._started, self._ended, self._flush, self._shutdown = started, ended, flush, shutdown

    def on_start(self, span: SDKSpan, parent_context: Context | None = None) -> None:
        """A span of anybody's has begun; told on, unless it is of a call of ours."""
        remember(span, get_current_span(parent_context))
        if not is_ours(span):
            self._started(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Recorded, and not of a call of ours."""
        if not is_ours(span):
            self._ended(span)

    def shutdown(self) -> None:
        """End the pipeline."""
        self._shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what has ended."""
        return self._flush(timeout_millis / 1000)


def is_ours(span: ReadableSpan) -> bool:
    """Whether it stands for a `Call`."""
    scope = span.instrumentation_scope
    return scope is not None and scope.name == SCOPE


def is_sampled(span: object) -> TypeGuard[ReadableSpan]:
    """Whether it is exported."""
    if type(span) is CallSpan:  # made only if so; one that is held is of another type
        return True
    context = span.get_span_context() if isinstance(span, ReadableSpan) else None
    return context is not None and context.trace_flags.sampled


def _randomness(ids: IdGenerator) -> int:
    """The flag of the traces that begin here."""
    tells = getattr(ids, "is_trace_id_random", None)
    return _RANDOM if tells is not None and tells() else 0
