"""The pipeline of one process: from a call that begins to a destination's acknowledgement.

Built once, and changed in place for as long as the process lives. On the application's threads it
starts and ends spans and appends to a queue; everything else happens on threads of its own.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Mapping

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace import Span as SDKSpan
from opentelemetry.trace import INVALID_SPAN, Span

from llm_observe.conventions import CONFIG_HASH, GenAI
from llm_observe.errors import Problem
from llm_observe.policy.capture import Clocks
from llm_observe.policy.tightening import grants_of_both
from llm_observe.settings.layers import active_destinations
from llm_observe.settings.model import Settings
from llm_observe.tracing.applying import Applied, Grants, stuck, tightened, untried
from llm_observe.tracing.call import Call
from llm_observe.tracing.clocks import present
from llm_observe.tracing.contexts import current
from llm_observe.tracing.export import late
from llm_observe.tracing.export.bounds import Bounds, read_bounds
from llm_observe.tracing.export.delivery import Delivery
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.intake import Intake, Meter
from llm_observe.tracing.export.probe import probe_all
from llm_observe.tracing.export.status import PipelineStatus
from llm_observe.tracing.export.tail import Tail
from llm_observe.tracing.gate import gate
from llm_observe.tracing.rendering.privacy import Privacy
from llm_observe.tracing.rendering.tally import tally
from llm_observe.tracing.sampling.sampler import LiveSampler
from llm_observe.tracing.sampling.subjects import service_of
from llm_observe.tracing.starting import Foreign, OwnProvider, Starter, is_sampled
from llm_observe.tracing.wrapping import inflight, switching

_METRICS = "llm_observe.tracing.metrics"
_LONGEST_WAIT_S = 1.0


class Pipeline:
    """Records calls and sends them where the settings say. Implements `patch.Recorder`.

    Args:
        resource: Describes this process on every span and metric.
        settings: In force from the start. Its destinations are not probed; they are tried.
        config_hash: Stamped on every span, to tell settings apart afterwards.
        bounds: Sizes and times; read from the environment if not given.
        environ: Where references to secrets are read.
        grants: The capture grants that are running.
        clocks: What grants end by.
    """

    def __init__(
        self,
        resource: Resource,
        settings: Settings,
        config_hash: str = "",
        *,
        bounds: Bounds | None = None,
        environ: Mapping[str, str] = os.environ,
        grants: Grants = (),
        clocks: Callable[[], Clocks] = present,
    ) -> None:
        self._clocks = clocks
        self.settings, self.config_hash = settings, config_hash
        self._bounds, self._environ = bounds or read_bounds(environ), environ
        self._privacy, self._resource = self._privacy_of(settings, None, grants), resource
        self._sampler = LiveSampler(settings.sampling)
        foreign = Foreign(self._begun, self._over, self.flush, self.shutdown)
        self._provider = OwnProvider(self._sampler, resource, foreign)
        self._switch(settings)
        self._ended = False
        # In a forked child: when it came to be. What had begun by then is its parent's to end.
        self._born_ns = 0
        self._dated_back: set[int] = set()
        self._build()
        self._intake.start()
        atexit.register(self.shutdown)

    @property
    def tracer_provider(self) -> TracerProvider:
        """Makes spans that go the same way; may be made the global provider."""
        return self._provider

    @property
    def service(self) -> str:
        """The name that this process has on all that leaves from now on."""
        return service_of(self._resource)

    # -- recording: on the application's threads ---------------------------------------------

    def start(self, call: Call, context: Context | None = None) -> Span:
        """Start the call's span as a child of the context's; the current one, if none is given.

        The span holds only what a sampler may want to know; no content is ever put on it.
        """
        here = current() if context is None else context
        if self._ended or here.get(_SUPPRESS_INSTRUMENTATION_KEY):
            return INVALID_SPAN
        self._intake.start()
        call.config_hash = self.config_hash
        return self._starter.start(call, here)

    def finish(self, span: Span, call: Call) -> None:
        """End the span and take the call over. Safe in a finalizer: takes no lock of ours."""
        if span is INVALID_SPAN or call.start_ns < self._born_ns:
            return
        span.end(call.end_ns)
        self._intake.put(Entry(span, call) if is_sampled(span) else self._unsampled(span, call))

    def _unsampled(self, span: Span, call: Call) -> Entry | Call:
        held = self._sampler.held.of(span.get_span_context())
        if held is None or not isinstance(span, ReadableSpan):
            return call
        return Entry(span, call, held)

    def holds(self, trace_id: int) -> bool:
        """Whether a trace that is not sampled is recorded, and may yet be exported."""
        return self._sampler.held.holds(trace_id)

    def take(self, span: ReadableSpan) -> None:
        """Take an ended span that was made elsewhere. Safe in a finalizer, as `finish`."""
        if not self._ended:
            self._intake.put(Entry(span))

    def _begun(self, span: SDKSpan) -> None:
        self._intake.start()
        span.set_attribute(CONFIG_HASH, self.config_hash)
        if not is_sampled(span):
            self._sampler.held.began(span.get_span_context())
        if (span.start_time or 0) < self._born_ns:  # begun here all the same: dated back
            self._dated_back.add(span.get_span_context().span_id)

    def _over(self, span: ReadableSpan) -> None:
        if (span.start_time or 0) < self._born_ns:
            identity = span.get_span_context()
            if identity is None or identity.span_id not in self._dated_back:
                return
            self._dated_back.discard(identity.span_id)
        if is_sampled(span):
            self._intake.put(Entry(span))
        elif held := self._sampler.held.of(span.get_span_context()):
            self._intake.put(Entry(span, held=held))

    # -- changing: on the agent's thread ------------------------------------------------------

    def apply(
        self,
        settings: Settings,
        config_hash: str,
        *,
        grants: Grants = (),
        timeout_s: float = 10.0,
    ) -> Applied:
        """Put other settings in force; all of them, or only what is tighter.

        First what records or sends less: a lower capture level, a destination or signal that goes.
        That holds whatever comes after. Then new and changed destinations are probed. If one
        fails, nothing else changes. If none does, everything changes at once.

        When this returns without a problem, no request is in flight that carries bytes of a
        looser level or goes to a former destination: it has ended or was aborted. ``grants`` are
        those that run from now on; to leave one out ends it, which is a tightening.
        """
        deadline = time.monotonic() + timeout_s
        with self._applying:
            tighter = tightened(self.settings, settings)
            self._put_in_force(tighter, grants_of_both(self._privacy.grants, grants))
            problems = stuck(self._delivery.settled(deadline))
            problems += self._probed(tighter, settings, deadline)
            if not problems:
                self._put_in_force(settings, grants)
                self.config_hash = config_hash
                deadline = max(deadline, time.monotonic() + self._bounds.grace_s * 2)
                problems = stuck(self._delivery.settled(deadline))
            return Applied(self.settings, tuple(problems))

    def begin_again(
        self, resource: Resource, settings: Settings, config_hash: str, *, grants: Grants = ()
    ) -> None:
        """From now on as if it had been built with these. Nothing is probed, nothing is lost.

        For a program that says only now what it wants. Waits for a change that is under way,
        but not for long: it may hang on a network.
        """
        held = self._applying.acquire(timeout=_LONGEST_WAIT_S)
        try:
            self._put_in_force(settings, grants)
            self.config_hash = config_hash
        finally:
            if held:
                self._applying.release()
        self.rename(resource)

    def rename(self, resource: Resource) -> None:
        """Describe this process anew on all that leaves from now on, what is queued included."""
        self._resource = resource
        self._provider.rename(resource)
        self._starter = Starter(self._provider, self._sampler, resource)

    # -- looking and ending -------------------------------------------------------------------

    def status(self) -> PipelineStatus:
        """The present counts."""
        return PipelineStatus(
            enabled=self.settings.instrumentation.enabled,
            calls=self._intake.calls,
            sampled_out=self._intake.sampled_out + self._tail.sampled_out,
            faults=gate.count,
            dropped=self._intake.dropped + self._delivery.dropped,
            **self._tail.counts._asdict(),
            redacted=tally.total(),
            destinations=self._delivery.status(),
        )

    def send_metrics(self, destination: str, payload: bytes) -> None:
        """Queue an encoded metric export for one destination, if it is there and takes metrics."""
        self._delivery.send_metrics(destination, payload)

    def flush(self, timeout_s: float) -> bool:
        """Send all that ended so far, metrics included; True if every destination has all of it."""
        deadline = time.monotonic() + timeout_s
        handed_on = self._intake.flush(deadline)
        return self._delivery.flush(deadline) and handed_on

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """Flush within the time given, then end. What is left is dropped and counted."""
        if self._ended:
            return
        inflight.end_all()
        self._ended = True
        atexit.unregister(self.shutdown)
        deadline = time.monotonic() + timeout_s
        self._intake.hasten(deadline - timeout_s * 0.65)
        self._intake.judge_held()
        self.flush(timeout_s * 0.75)
        self._intake.stop(deadline)
        self._delivery.stop(deadline)

    def after_fork_in_child(
        self,
        resource: Resource,
        settings: Settings | None = None,
        config_hash: str = "",
        *,
        grants: Grants = (),
    ) -> None:
        """Start over in a forked child: fresh locks, empty queues; threads start with the next call.

        What was queued, and every call that is under way, is the parent's to send: the child's
        copies of them come to nothing. ``settings`` are put in force with their ``config_hash``;
        without them those hold that the parent had.
        """
        self._born_ns, self._dated_back = time.time_ns(), set()
        self._sampler.after_fork_in_child()
        if settings is not None:
            self.settings, self.config_hash = settings, config_hash
            self._privacy = self._privacy_of(settings, self._privacy, grants)
            self._sampler.swap(settings.sampling)
            self._switch(settings)
        self._resource = resource
        self._provider.after_fork_in_child(resource)
        self._build()

    # -- inside -------------------------------------------------------------------------------

    def _build(self) -> None:
        self._applying = threading.Lock()
        self._delivery = Delivery(
            active_destinations(self.settings),
            lambda: self._privacy,
            lambda: self._resource,
            self._bounds,
            self._environ,
            self._genai,
        )
        self._tail = Tail(
            self._sampler.held, lambda: self.settings.sampling.keep, self._delivery.offer
        )
        self._intake = Intake(self._delivery, self._make_meter, self._bounds, self._tail)
        self._starter = Starter(self._provider, self._sampler, self._resource)

    def _put_in_force(self, settings: Settings, grants: Grants) -> None:
        """Privacy first: what the workers do from here on is already under it."""
        self._privacy = self._privacy_of(settings, self._privacy, grants)
        self._sampler.swap(settings.sampling)
        self._switch(settings)
        self._delivery.replace(active_destinations(settings))
        self.settings = settings

    def _switch(self, settings: Settings) -> None:
        """The kill switch, for our wrappers and for what others begin on our provider."""
        self._provider.valve.shut = not settings.instrumentation.enabled
        switching.put_in_force(settings.instrumentation)

    def _privacy_of(self, settings: Settings, former: Privacy | None, grants: Grants) -> Privacy:
        return Privacy(
            settings.capture, settings.redaction, self._environ, former, grants, self._clocks
        )

    def _probed(self, before: Settings, after: Settings, deadline: float) -> list[Problem]:
        changed = untried(before, after)
        return probe_all(changed, deadline, self._environ) if changed else []

    def _make_meter(self) -> Meter:
        meter: Meter = late.load(_METRICS).CallMetrics(lambda: self._resource, self._genai)
        return meter

    def _genai(self) -> GenAI:
        return self.settings.conventions.genai
