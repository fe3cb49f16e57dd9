"""The pipeline of one process: from a call that begins to a destination's acknowledgement.

Built once, and changed in place for as long as the process lives. On the application's threads it
starts and ends spans and appends to a queue; everything else happens on threads of its own.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeGuard

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SDKSpan
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from llm_observe.conventions import CONFIG_HASH
from llm_observe.errors import Problem
from llm_observe.settings.layers import active_destinations
from llm_observe.settings.model import Destination, Settings
from llm_observe.tracing.call import Call, start_attributes
from llm_observe.tracing.export import late
from llm_observe.tracing.export.bounds import Bounds, read_bounds
from llm_observe.tracing.export.delivery import Delivery
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.intake import Intake, Meter
from llm_observe.tracing.export.probe import probe_all
from llm_observe.tracing.export.quiet import is_quiet
from llm_observe.tracing.export.status import PipelineStatus
from llm_observe.tracing.gate import gate
from llm_observe.tracing.sampler import LiveSampler

SCOPE = "llm_observe.calls"
"""Instrumentation scope of the spans that stand for a `Call`, and of no others."""

_METRICS = "llm_observe.tracing.metrics"

MOST_ATTRIBUTES = 10_000
"""A long chat has more attributes than the SDK's 128, which would push the oldest out."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of `Pipeline.apply`."""

    settings: Settings
    """In force now: the asked ones, or with problems the former ones, tightened."""

    problems: tuple[Problem, ...] = ()
    """Why not all of it is in force; empty if it is."""


class Pipeline:
    """Records calls and sends them where the settings say. Implements `patch.Recorder`.

    Args:
        resource: Describes this process on every span and metric.
        settings: In force from the start. Its destinations are not probed; they are tried.
        config_hash: Stamped on every span, to tell settings apart afterwards.
        bounds: Sizes and times; read from the environment if not given.
        environ: Where references to secrets are read.
    """

    def __init__(
        self,
        resource: Resource,
        settings: Settings,
        config_hash: str = "",
        *,
        bounds: Bounds | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.settings, self.config_hash = settings, config_hash
        self._bounds, self._environ = bounds or read_bounds(environ), environ
        self._level = settings.capture.level
        self._sampler = LiveSampler(settings.sampling)
        self._provider = TracerProvider(
            sampler=self._sampler,
            resource=resource,
            shutdown_on_exit=False,
            span_limits=SpanLimits(
                max_span_attributes=MOST_ATTRIBUTES, max_attributes=MOST_ATTRIBUTES
            ),
        )
        self._provider.add_span_processor(_Foreign(self))
        self._tracer = self._provider.get_tracer(SCOPE)
        self._ended = False
        self._build(resource)
        self._intake.start()
        atexit.register(self.shutdown)

    @property
    def tracer_provider(self) -> TracerProvider:
        """Makes spans that go the same way; may be made the global provider."""
        return self._provider

    # -- recording: on the application's threads ---------------------------------------------

    def start(self, call: Call) -> Span:
        """Start the call's span as a child of the current one.

        The span holds only what a sampler may want to know; no content is ever put on it.
        """
        if self._ended or is_quiet():
            return INVALID_SPAN
        self._intake.start()
        call.config_hash = self.config_hash
        return self._tracer.start_span(
            call.name,
            kind=SpanKind.CLIENT,
            attributes=start_attributes(call),
            start_time=call.start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )

    def finish(self, span: Span, call: Call) -> None:
        """End the span and take the call over. Safe in a finalizer: takes no lock of ours."""
        if span is INVALID_SPAN:
            return
        span.end(call.end_ns)
        if _is_sampled(span):
            self._intake.put(Entry(span, call))
        else:
            self._intake.put(call)

    # -- changing: on the agent's thread ------------------------------------------------------

    def apply(self, settings: Settings, config_hash: str, *, timeout_s: float = 10.0) -> Applied:
        """Put other settings in force; all of them, or only what is tighter.

        First what records or sends less: a lower capture level, a destination or signal that goes.
        That holds whatever comes after. Then new and changed destinations are probed. If one
        fails, nothing else changes. If none does, everything changes at once.

        When this returns without a problem, no request is in flight that carries bytes of a
        looser level or goes to a former destination: it has ended or was aborted.
        """
        deadline = time.monotonic() + timeout_s
        with self._applying:
            tighter = tightened(self.settings, settings)
            self._put_in_force(tighter)
            problems = self._stuck(deadline) + self._probed(tighter, settings, deadline)
            if not problems:
                self._put_in_force(settings)
                self.config_hash = config_hash
                problems = self._stuck(max(deadline, time.monotonic() + self._bounds.grace_s * 2))
            return Applied(self.settings, tuple(problems))

    # -- looking and ending -------------------------------------------------------------------

    def status(self) -> PipelineStatus:
        """The present counts."""
        return PipelineStatus(
            calls=self._intake.calls,
            sampled_out=self._intake.sampled_out,
            faults=gate.count,
            dropped=self._intake.dropped + self._delivery.dropped,
            destinations=self._delivery.status(),
        )

    def flush(self, timeout_s: float) -> bool:
        """Send all that ended so far, metrics included; True if every destination has all of it."""
        deadline = time.monotonic() + timeout_s
        handed_on = self._intake.flush(deadline)
        return self._delivery.flush(deadline) and handed_on

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """Flush within the time given, then end. What is left is dropped and counted."""
        if self._ended:
            return
        self._ended = True
        atexit.unregister(self.shutdown)
        deadline = time.monotonic() + timeout_s
        self.flush(timeout_s * 0.75)
        self._intake.stop(deadline)
        self._delivery.stop(deadline)

    def after_fork_in_child(self, resource: Resource) -> None:
        """Start over in a forked child: fresh locks, empty queues; threads start with the next call.

        What was queued is the parent's to send.
        """
        self._build(resource)

    # -- inside -------------------------------------------------------------------------------

    def _build(self, resource: Resource) -> None:
        self._applying = threading.Lock()
        self._delivery = Delivery(
            active_destinations(self.settings),
            lambda: self._level,
            resource,
            self._bounds,
            self._environ,
        )
        self._intake = Intake(self._delivery, lambda: _make_meter(resource), self._bounds)

    def _put_in_force(self, settings: Settings) -> None:
        """The level first: what the workers do from here on is already under it."""
        self._level = settings.capture.level
        self._sampler.swap(settings.sampling)
        self._delivery.replace(active_destinations(settings))
        self.settings = settings

    def _probed(self, before: Settings, after: Settings, deadline: float) -> list[Problem]:
        known = active_destinations(before)
        changed = {
            name: destination
            for name, destination in active_destinations(after).items()
            if known.get(name) != destination
        }
        return probe_all(changed, deadline, self._environ) if changed else []

    def _stuck(self, deadline: float) -> list[Problem]:
        return [
            Problem(
                f"destinations.{name}",
                "a request under the former settings that could not be ended",
                "none in flight",
            )
            for name in self._delivery.settled(deadline)
        ]


def tightened(before: Settings, after: Settings) -> Settings:
    """``before``, less what ``after`` no longer records or sends."""
    level = min(before.capture.level, after.capture.level, key=lambda item: item.rank)
    return replace(
        before,
        capture=replace(before.capture, level=level),
        destinations=dict(_remaining(before, after)),
    )


def _remaining(before: Settings, after: Settings) -> list[tuple[str, Destination]]:
    wanted = active_destinations(after)
    remaining = []
    for name, destination in before.destinations.items():
        if name in wanted:
            signals = tuple(x for x in destination.signals if x in wanted[name].signals)
            remaining.append((name, replace(destination, signals=signals)))
        elif name in after.destinations:
            remaining.append((name, replace(destination, enabled=False)))
    return remaining


class _Foreign(SpanProcessor):
    """Spans of other instrumentors on our provider; those of ours come by `Pipeline.finish`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def on_start(self, span: SDKSpan, parent_context: Context | None = None) -> None:
        if not _is_ours(span):
            self._pipeline._intake.start()
            span.set_attribute(CONFIG_HASH, self._pipeline.config_hash)

    def on_end(self, span: ReadableSpan) -> None:
        if not _is_ours(span) and _is_sampled(span):
            self._pipeline._intake.put(Entry(span))

    def shutdown(self) -> None:
        self._pipeline.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._pipeline.flush(timeout_millis / 1000)


def _is_ours(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == SCOPE


def _is_sampled(span: object) -> TypeGuard[ReadableSpan]:
    context = span.get_span_context() if isinstance(span, ReadableSpan) else None
    return context is not None and context.trace_flags.sampled


def _make_meter(resource: Resource) -> Meter:
    meter: Meter = late.load(_METRICS).CallMetrics(resource)
    return meter
