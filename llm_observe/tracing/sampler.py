"""A sampler whose settings change while the program runs.

Tracers keep the sampler they were made with, so this one stays and swaps what is inside: one
reference store, seen whole by every thread. It is always parent-based, so that a change in the
middle of a trace never tears it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from llm_observe.policy.matching import Subject
from llm_observe.policy.sampling import SamplingPolicy, without_threshold
from llm_observe.settings.model import Sampling
from llm_observe.tracing.gate import gate
from llm_observe.tracing.subjects import subject

_KEY = "ot"
"""OpenTelemetry's own entry in a trace state ("TraceState: Probability Sampling")."""

_SAMPLE, _DROP = Decision.RECORD_AND_SAMPLE, Decision.DROP

_ANYTHING = Subject()

Described = Callable[[], Attributes]

Verdict = tuple[Decision, TraceState | None]
"""What becomes of a span, and the trace state that it and its children have."""


class LiveSampler(Sampler):
    """Decides by the settings in force.

    A child follows its parent, in this process or another, and has its trace state. A root is kept
    by its trace id, at the share of the first rule that fits it, and the threshold that it was
    kept by stands in its trace state (``ot=th:…``). One exception: a share of 0 means off, so a
    caller in another process that sampled its trace does not switch it on.
    """

    def __init__(self, sampling: Sampling) -> None:
        self.service = ""
        """Name of the service, for rules."""
        self.swap(sampling)

    def swap(self, sampling: Sampling) -> None:
        """Put other settings in force; traces that have begun keep their decision."""
        self._inside = (SamplingPolicy(sampling), sampling)

    def decide(
        self, trace_id: int, parent: SpanContext | None, here: Context, attributes: Described
    ) -> Verdict:
        """For one span.

        Args:
            parent: None, or not valid, for the root of a trace.
            here: The context that it begins in.
            attributes: Gives those that it begins with; asked only where a rule wants to know.
        """
        policy, _ = self._inside
        if parent is None or not parent.is_valid:
            head = policy.head(trace_id, self._subject(policy, here, attributes))
            return _decision(head.keep), state_of(head.trace_state)
        off = parent.is_remote and policy.may_be_off
        if off and policy.off(self._subject(policy, here, attributes)):
            return _DROP, _dropped(parent.trace_state)
        return _decision(parent.trace_flags.sampled), parent.trace_state

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
        return SamplingResult(decision, attributes if decision is _SAMPLE else None, state)

    def get_description(self) -> str:
        """``Live{ParentBased{Ratio{0.5}}}``, with what is in force inside."""
        sampling = self._inside[1]
        rules = f", {len(sampling.rules)} rule(s)" if sampling.rules else ""
        return f"Live{{ParentBased{{Ratio{{{sampling.ratio}}}{rules}}}}}"

    def _subject(self, policy: SamplingPolicy, here: Context, attributes: Described) -> Subject:
        if not policy.asks:
            return _ANYTHING
        try:
            return subject(self.service, here, attributes() or {})
        except Exception as error:  # noqa: BLE001  # as `with gate`; the share of all others holds
            gate.caught(error)
            return _ANYTHING


def _decision(sampled: bool) -> Decision:
    return _SAMPLE if sampled else _DROP


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
