"""A sampler whose settings change while the program runs.

Tracers keep the sampler they were made with, so this one stays and swaps what is inside: one
reference store, seen whole by every thread. It is always parent-based, so that a change in the
middle of a trace never tears it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from llm_observe.policy.keeping import wanted
from llm_observe.policy.matching import Known
from llm_observe.policy.rate import Bucket
from llm_observe.policy.sampling import Head, SamplingPolicy, without_threshold
from llm_observe.settings.model import Sampling
from llm_observe.tracing.gate import gate
from llm_observe.tracing.sampling.held import HeldTraces
from llm_observe.tracing.sampling.subjects import reader

_KEY = "ot"
"""OpenTelemetry's own entry in a trace state ("TraceState: Probability Sampling")."""

_SAMPLE, _RECORD, _DROP = Decision.RECORD_AND_SAMPLE, Decision.RECORD_ONLY, Decision.DROP

Described = Callable[[], Attributes]

Verdict = tuple[Decision, TraceState | None]
"""What becomes of a span, and the trace state that it and its children have."""


class LiveSampler(Sampler):
    """Decides by the settings in force.

    A child follows its parent, in this process or another, and has its trace state. A root is kept
    by its trace id, at the share of the first rule that fits it, and the threshold that it was
    kept by stands in its trace state (``ot=th:…``). One exception: a share of 0 means off, so a
    caller in another process that sampled its trace does not switch it on.

    Of the roots that are kept so, `Sampling.per_second` lets through so many. As long as it refuses
    any, those that pass say no threshold: how many they stand for is not known then.

    What is dropped, but not for a share of 0, is recorded all the same where `Sampling.keep` may
    want it when it is over; it is not sampled, and everybody else is told so.
    """

    def __init__(self, sampling: Sampling) -> None:
        self.service = ""
        """Name of the service, for rules."""
        self.held = HeldTraces()
        """What is dropped here and recorded all the same, for `Sampling.keep`."""
        self.swap(sampling)

    def swap(self, sampling: Sampling) -> None:
        """Put other settings in force; traces that have begun keep their decision."""
        self.held.most = sampling.keep.buffer_spans
        self._inside = _Inside(sampling, getattr(self, "_inside", None))

    def after_fork_in_child(self) -> None:
        """Another process: what it counts is its own, and no other thread holds a lock of it."""
        self.held.clear()
        self._inside = _Inside(self._inside.sampling)

    def decide(
        self, trace_id: int, parent: SpanContext | None, here: Context, attributes: Described
    ) -> Verdict:
        """For one span.

        Args:
            trace_id: Of the span.
            parent: None, or not valid, for the root of a trace.
            here: The context that it begins in.
            attributes: Gives those that it begins with; asked only where a rule wants to know.
        """
        inside = self._inside
        if parent is None or not parent.is_valid:
            if inside.always is not None:
                return inside.always
            return self._root(inside, trace_id, here, attributes)
        off = parent.is_remote and inside.policy.may_be_off
        if off and inside.policy.off(self._known(inside, here, attributes)):
            return _DROP, _dropped(parent.trace_state)
        if parent.trace_flags.sampled:
            return _SAMPLE, parent.trace_state
        if parent.is_remote and inside.holds:
            self.held.hold(trace_id)
        return _RECORD if self.held.holds(trace_id) else _DROP, parent.trace_state

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """`decide`, as the SDK asks it."""
        here = get_current() if parent_context is None else parent_context
        parent = get_current_span(here).get_span_context()
        decision, state = self.decide(trace_id, parent, here, lambda: attributes)
        return SamplingResult(decision, None if decision is _DROP else attributes, state)

    def get_description(self) -> str:
        """``Live{ParentBased{Ratio{0.5}}}``, with what is in force inside."""
        sampling = self._inside.sampling
        rules = f", {len(sampling.rules)} rule(s)" if sampling.rules else ""
        return f"Live{{ParentBased{{Ratio{{{sampling.ratio}}}{rules}}}}}"

    def _root(
        self, inside: _Inside, trace_id: int, here: Context, attributes: Described
    ) -> Verdict:
        head = inside.policy.head(trace_id, self._known(inside, here, attributes))
        keep, said, off = head if inside.bucket is None else inside.bounded(head)
        state = state_of(said)
        if keep:
            return _SAMPLE, state
        if off or not inside.holds:
            return _DROP, state
        self.held.hold(trace_id)
        return _RECORD, state

    def _known(self, inside: _Inside, here: Context, attributes: Described) -> Known:
        if inside.read is None:
            return ()
        try:
            return inside.read(self.service, here, attributes() or {})
        except Exception as error:  # noqa: BLE001  # as `with gate`; the share of all others holds
            gate.caught(error)
            return inside.nothing


class _Inside:
    """What is in force, made ready. A bound that stays as it was goes on counting."""

    def __init__(self, sampling: Sampling, former: _Inside | None = None) -> None:
        self.sampling, self.policy = sampling, SamplingPolicy(sampling)
        same = former is not None and former.sampling.per_second == sampling.per_second
        self.holds = wanted(sampling.keep)
        """Whether traces that are dropped may yet be kept."""
        wants = self.policy.wants
        self.read = reader(wants) if wants else None
        """What is to be known of a root, if anything."""
        self.nothing: Known = tuple(None if key else "" for _, key in wants)
        self.bucket: Bucket | None = (
            former.bucket if former and same else _bucket(sampling.per_second)
        )
        self.always: Verdict | None = None
        """Of every root, where nothing tells them apart."""
        if sampling.ratio == 1 and self.bucket is None and not sampling.rules and not wants:
            self.always = _SAMPLE, state_of(self.policy.head(0).trace_state)

    def bounded(self, head: Head) -> Head:
        """What becomes of the decision within the bound."""
        if not head.keep or self.bucket is None:
            return head
        now = time.monotonic()
        taken = self.bucket.take(now)
        scarce = self.bucket.scarce(now)
        if taken and not scarce:
            return head
        return Head(taken, without_threshold(head.trace_state) if scarce else head.trace_state)


def _bucket(per_second: float | None) -> Bucket | None:
    return None if per_second is None else Bucket(per_second)


@lru_cache(maxsize=1024)
def state_of(written: str) -> TraceState | None:
    """A trace state that says this and no more; None for nothing."""
    return TraceState([(_KEY, written)]) if written else None


def _dropped(state: TraceState) -> TraceState:
    """A dropped trace has no threshold; what else it says goes on."""
    written = state.get(_KEY) if state else None
    if written is None or "th:" not in written:
        return state
    kept = without_threshold(written)
    return state.update(_KEY, kept) if kept else state.delete(_KEY)
