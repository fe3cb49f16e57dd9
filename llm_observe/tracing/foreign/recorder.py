"""Calls on a tracer provider that is not ours: the app's own, Phoenix's, any other.

A call's span is started by that provider's tracer, as a child of the current span. It is rendered
and ended when the call ends, on the thread where it ends, under the capture level of that
moment. Two kinds of calls are ended by a worker instead, with the time at which they were over:

- those whose numbers only the server knows (`Call.completion`). The worker asks for them, bounded
  in time; meanwhile nobody waits;
- those that were broken off. They may have been found by the garbage collector in the midst of
  anything, where a lock of the other provider's processors must not be taken.

What happens to an ended span is the provider's business: sampling, batching, destinations.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from opentelemetry import trace
from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
)
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    TracerProvider,
    get_current_span,
    get_tracer,
)

from llm_observe.conventions import renamed
from llm_observe.settings.model import Settings
from llm_observe.tracing.call import SCOPE, Call, start_attributes
from llm_observe.tracing.contexts import current, within
from llm_observe.tracing.export import late
from llm_observe.tracing.export.bounds import Bounds, read_bounds
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.intake import Intake, Meter
from llm_observe.tracing.foreign import steps as foreign_steps
from llm_observe.tracing.foreign.ending import Ended, Ender, Endings, allowed, in_time, write
from llm_observe.tracing.gate import gate
from llm_observe.tracing.rendering.filtering import privacy_of
from llm_observe.tracing.sampling.routes import remember
from llm_observe.tracing.wrapping import inflight
from llm_observe.version import __version__

_METER = "llm_observe.tracing.foreign.meter"


class ForeignRecorder:
    """Implements `patch.Recorder` on a provider that is not ours.

    Args:
        settings: Capture level and conventions in force; the rest is up to the provider.
        provider: None takes the global one, also if it is set later.
        meter_provider: None takes the global one.
        config_hash: Stamped on every span.
        service: What this process is called, for capture rules.
        ended: Told of every ended call, on a worker.
        bounds: Sizes and times; read from the environment if not given.
    """

    def __init__(
        self,
        settings: Settings,
        provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        config_hash: str = "",
        *,
        service: Callable[[], str] = str,
        ended: Ended | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.settings, self.config_hash = settings, config_hash
        self._given, self._meters, self._service = provider, meter_provider, service
        self._bounds = bounds or read_bounds(os.environ)
        self._tracer = get_tracer(SCOPE, __version__, provider)
        self._ender = Ender(self._end, ended)
        self._endings = Endings()
        self._over = self._at_exit = False
        self._born_ns = 0  # in a forked child: what had begun by then is its parent's to end
        self._build()

    @property
    def tracer_provider(self) -> TracerProvider:
        """Where the spans are made."""
        return self._given or trace.get_tracer_provider()

    @property
    def meter_provider(self) -> MeterProvider | None:
        """The one given; None stands for the global one."""
        return self._meters

    @property
    def calls(self) -> int:
        """Calls that ended."""
        return self._intake.calls

    @property
    def dropped(self) -> int:
        """Spans that were never ended because the worker's queue was full."""
        return self._intake.dropped

    # -- on the application's threads ---------------------------------------------------------

    def start(self, call: Call, context: Context | None = None) -> Span:
        """Start the call's span as a child of the context's; the current one, if none is given."""
        here = current() if context is None else context
        if self._over or here.get(_SUPPRESS_INSTRUMENTATION_KEY):
            return INVALID_SPAN
        self._begin()
        call.config_hash = self.config_hash
        there = allowed(here, privacy_of(self.settings).strictest)
        # Some tracers read the current context, whatever they are given.
        span: Span = within(there, self._started, call, there)
        remember(span, get_current_span(there))
        return span

    def finish(self, span: Span, call: Call) -> None:
        """End the span, here or on the worker, and count the call."""
        if span is INVALID_SPAN or call.start_ns < self._born_ns:
            return
        if call.end_ns is None:
            call.end_ns = call.now()
        if self._over or not (call.completion or call.aborted):
            self._end(span, call)
        self._intake.put(Entry(span, call))  # type: ignore[arg-type]  # any span: `Ender` reads it

    def start_step(
        self, name: str, context: Context, attributes: Mapping[str, Any], links: Sequence[Link]
    ) -> Span:
        """Start the span of a step or a score (`stepping.StepRecorder`)."""
        if self._over:
            return INVALID_SPAN
        self._begin()
        there = allowed(context, privacy_of(self.settings).strictest)
        return foreign_steps.start(
            self.tracer_provider, self.settings, self._service(), name, there, attributes, links
        )

    def end_step(self, span: Span, said: Mapping[str, Any], error: BaseException | None) -> None:
        """End it, with what the level of this moment allows (`stepping.StepRecorder`).

        A step that was dropped may be found by the garbage collector: it is ended by the worker.
        """
        if self._over or error is None or isinstance(error, Exception):
            self._end_step(span, said, error)
        else:
            end = partial(self._end_step, span, said, error, time.time_ns())
            self._intake.put(Entry(end))  # type: ignore[arg-type]  # `Ender` calls it

    # -- on other threads ---------------------------------------------------------------------

    def settled(self, deadline: float) -> bool:
        """Wait until every span is ended whose call is over; False when time ran out.

        Afterwards none is ended under settings older than those in force now.
        """
        return self._endings.settled(deadline) and self._intake.flush(deadline)

    def drained(self, deadline: float) -> bool:
        """Have the provider send what it holds; False if it cannot, or not in time."""
        flush = getattr(self.tracer_provider, "force_flush", None)
        remaining = deadline - time.monotonic()
        return flush is not None and in_time(lambda: flush(int(remaining * 1000)), remaining)

    def flush(self, timeout_s: float) -> bool:
        """End all spans of calls that are over, and have the provider send them."""
        deadline = time.monotonic() + timeout_s
        can = hasattr(self.tracer_provider, "force_flush")  # else there is nobody to ask
        return self.settled(deadline) and (self.drained(deadline) or not can)

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """End what is over, and record nothing more. The provider goes on; it is not ours."""
        if self._over:
            return
        inflight.end_all()
        self._over = True
        atexit.unregister(self.shutdown)
        deadline = time.monotonic() + timeout_s
        self._intake.flush(deadline)
        self._intake.stop(deadline)

    def after_fork_in_child(self) -> None:
        """Start over in a forked child; what waited or is under way is the parent's to end."""
        self._born_ns, self._endings = time.time_ns(), Endings()
        self._build()

    # -- inside -------------------------------------------------------------------------------

    def _started(self, call: Call, context: Context) -> Span:
        return self._tracer.start_span(
            call.name,
            context,
            kind=SpanKind.CLIENT,
            attributes=renamed(start_attributes(call), self.settings.conventions.genai),
            start_time=call.start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )

    def _build(self) -> None:
        self._intake = Intake(self._ender, self._make_meter, self._bounds)

    def _make_meter(self) -> Meter:
        made = late.load(_METER).ForeignMeter
        meter: Meter = made(self._meters, lambda: self.settings.conventions.genai)
        return meter

    def _begin(self) -> None:
        self._intake.start()
        if not self._at_exit:  # later than the provider's own, and so run before it
            self._at_exit = True
            atexit.register(self.shutdown)

    def _end(self, span: Span, call: Call) -> None:
        with self._endings.one():
            with gate:
                write(span, call, self.settings, self._service())
            with gate:  # a processor of the app's own may raise, and the call counts all the same
                span.end(call.end_ns)

    def _end_step(
        self,
        span: Span,
        said: Mapping[str, Any],
        error: BaseException | None,
        end_ns: int | None = None,
    ) -> None:
        with self._endings.one(), gate:  # as for calls: a processor of the app's own may raise
            foreign_steps.end(
                span, said, error, self.settings, self._service(), self.config_hash, end_ns
            )
