"""The pipeline of a process whose tracer provider is not ours. The same interface as `Pipeline`.

The app's provider makes, samples and exports the spans of calls, so that its traces stay whole.
Each call is also handed to a pipeline of our own, which sends it to the destinations of our
settings, under the same ids: the control plane sees what the app's own backend sees.

What can be enforced here: capture, redaction and conventions, on both ways out. What cannot: which
traces the provider keeps, where it sends them, and when; so no grant runs. A change of that is a
problem, never in force.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanKind, TracerProvider

from llm_observe.conventions import kind_of
from llm_observe.errors import Problem
from llm_observe.settings.model import Settings
from llm_observe.tracing.applying import Applied, Grants, tightened
from llm_observe.tracing.call import SCOPE, Call
from llm_observe.tracing.export.status import PipelineStatus
from llm_observe.tracing.foreign import steps as foreign_steps
from llm_observe.tracing.foreign.applying import name_of, not_enforceable
from llm_observe.tracing.foreign.recorder import ForeignRecorder
from llm_observe.tracing.pipeline import Pipeline
from llm_observe.version import __version__

_NOWHERE = Resource.get_empty()


class ForeignPipeline:
    """Implements `patch.Recorder` and what the agent wants of a pipeline.

    Args:
        provider: The tracer provider that is not ours; the global one, as a rule.
        own: Takes every call as well; its destinations are those of our settings.
        meter_provider: None takes the global one.
    """

    def __init__(
        self, provider: TracerProvider, own: Pipeline, meter_provider: MeterProvider | None = None
    ) -> None:
        self._own = own
        self._recorder = ForeignRecorder(
            own.settings,
            provider,
            meter_provider,
            own.config_hash,
            service=lambda: own.service,
            ended=self._pass_on,
        )
        self._applying = threading.Lock()
        self._asleep = False

    @property
    def tracer_provider(self) -> TracerProvider:
        """The one that is not ours; it is the global one already, or the app gave it."""
        return self._recorder.tracer_provider

    @property
    def settings(self) -> Settings:
        """In force now. Of sampling and destinations what holds for our own way out."""
        return self._own.settings

    @property
    def config_hash(self) -> str:
        """Stamped on every span."""
        return self._own.config_hash

    @config_hash.setter
    def config_hash(self, value: str) -> None:
        self._own.config_hash = self._recorder.config_hash = value

    def start(self, call: Call, context: Context | None = None) -> Span:
        """Start the call's span on the app's provider, as a child of the context's."""
        return self._recorder.start(call, context)

    def finish(self, span: Span, call: Call) -> None:
        """End it, and take the call over."""
        self._recorder.finish(span, call)

    def start_step(
        self, name: str, context: Context, attributes: Mapping[str, Any], links: Sequence[Link]
    ) -> Span:
        """Start the span of a step or a score on the app's provider."""
        return self._recorder.start_step(name, context, attributes, links)

    def end_step(self, span: Span, said: Mapping[str, Any], error: BaseException | None) -> None:
        """End it there, and take a copy for our own destinations."""
        self._recorder.end_step(span, said, error)
        copied = foreign_steps.copy(span, said, error, self.config_hash)
        if copied is not None:
            self._own.take(copied)
            self._wake()

    def apply(
        self,
        settings: Settings,
        config_hash: str,
        *,
        grants: Grants = (),
        timeout_s: float = 10.0,
    ) -> Applied:
        """As `Pipeline.apply`; a change that is not enforceable here is refused.

        What records or sends less holds at once all the same. A lower capture level has come true
        only when the provider has sent what it held. No grant begins here: nobody can say how
        long the provider holds a span back.
        """
        deadline = time.monotonic() + timeout_s
        with self._applying:
            before = self.settings
            tighter = tightened(before, settings)
            self._recorder.settings = tighter
            problems = list(
                self._own.apply(tighter, self.config_hash, timeout_s=timeout_s).problems
            )
            if (tighter.capture, tighter.redaction) != (before.capture, before.redaction):
                problems += self._held_back(deadline)
            problems += not_enforceable(before, settings, self.tracer_provider)
            if not problems:
                problems += self._own.apply(settings, config_hash, timeout_s=timeout_s).problems
                self._recorder.settings = self._own.settings
                self._recorder.config_hash = self._own.config_hash
            return Applied(self.settings, tuple(problems))

    def send_metrics(self, destination: str, payload: bytes) -> None:
        """As `Pipeline.send_metrics`: our own destinations are ours here too."""
        self._own.send_metrics(destination, payload)

    def status(self) -> PipelineStatus:
        """The present counts; of destinations our own."""
        status = self._own.status()
        return replace(
            status, calls=self._recorder.calls, dropped=status.dropped + self._recorder.dropped
        )

    def flush(self, timeout_s: float) -> bool:
        """Have the provider and our own destinations send all that ended so far."""
        deadline = time.monotonic() + timeout_s
        sent = self._recorder.flush(timeout_s)
        return self._own.flush(max(0.0, deadline - time.monotonic())) and sent

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """End our part; the provider goes on. It sends what it has of our calls, if it can.

        At the end of a process nobody else may ask it to: a signal runs no `atexit`.
        """
        deadline = time.monotonic() + timeout_s
        self._recorder.shutdown(timeout_s / 4)
        self._recorder.drained(time.monotonic() + timeout_s / 4)
        self._own.shutdown(max(0.0, deadline - time.monotonic()))

    def begin_again(
        self, resource: Resource, settings: Settings, config_hash: str, *, grants: Grants = ()
    ) -> None:
        """From now on as if it had been built with these, as `Pipeline.begin_again`."""
        self._own.begin_again(resource, settings, config_hash)
        self._recorder.settings, self._recorder.config_hash = settings, config_hash

    def rename(self, resource: Resource) -> None:
        """Describe this process anew to our own destinations; the provider's resource is its own."""
        self._own.rename(resource)

    def after_fork_in_child(
        self,
        resource: Resource,
        settings: Settings | None = None,
        config_hash: str = "",
        *,
        grants: Grants = (),
    ) -> None:
        """Start over in a forked child, as `Pipeline.after_fork_in_child` does."""
        self._applying = threading.Lock()
        self._own.after_fork_in_child(resource, settings, config_hash)
        self._recorder.after_fork_in_child()
        self._recorder.settings = self._own.settings
        self._recorder.config_hash = self._own.config_hash
        self._asleep = True

    def _pass_on(self, span: Span, call: Call) -> None:
        self._own.finish(_Copy(span, call), call)
        self._wake()

    def _wake(self) -> None:
        if self._asleep:  # its threads did not survive the fork, and wake up for something to send
            self._asleep = False
            self._own.flush(0.0)

    def _held_back(self, deadline: float) -> list[Problem]:
        if self._recorder.settled(deadline) and self._recorder.drained(deadline):
            return []
        found = f"spans of the former level that {name_of(self.tracer_provider)} may still hold"
        return [Problem("capture", found, "none; it did not confirm that they were sent")]


class _Copy(NonRecordingSpan, ReadableSpan):  # type: ignore[misc]  # both keep the same context there
    """An ended span under the same ids, as our own pipeline takes it: with what others put on it."""

    def __init__(self, span: Span, call: Call) -> None:
        there = getattr(span, "attributes", None) or {}
        ReadableSpan.__init__(
            self,
            call.name,
            span.get_span_context(),
            parent=getattr(span, "parent", None),
            resource=_NOWHERE,
            attributes={key: there[key] for key in there if kind_of(key) is None},
            kind=SpanKind.CLIENT,
            start_time=call.start_ns,
            end_time=call.end_ns,
            instrumentation_scope=InstrumentationScope(SCOPE, __version__),
        )
