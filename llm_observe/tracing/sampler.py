"""A sampler whose ratio changes while the program runs.

Tracers keep the sampler they were made with, so this one stays and swaps what is inside: one
reference store, seen whole by every thread. It is always parent-based, so that a change in the
middle of a trace never tears it.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from llm_observe.policy.sampling import keeps
from llm_observe.settings.model import Sampling


class LiveSampler(Sampler):
    """Decides by the settings in force.

    The rule is that of OpenTelemetry's ``ParentBased``: a child follows its parent, a root is
    kept by its trace id. One exception: ratio 0 means off, so a caller in another process that
    sampled its trace does not switch it on.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._ratio = sampling.ratio

    def swap(self, sampling: Sampling) -> None:
        """Put other settings in force; traces that have begun keep their decision."""
        self._ratio = sampling.ratio

    def samples(self, trace_id: int, parent: SpanContext | None) -> bool:
        """Whether a span is recorded; ``parent`` is None, or not valid, for the root of a trace."""
        if parent is None or not parent.is_valid:
            return self._ratio >= 1 or keeps(trace_id, self._ratio)
        return parent.trace_flags.sampled and not (parent.is_remote and self._ratio <= 0)

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
        """`samples`, as the SDK asks it."""
        parent = get_current_span(parent_context).get_span_context()
        state = parent.trace_state if parent.is_valid else None
        if self.samples(trace_id, parent):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        return SamplingResult(Decision.DROP, None, state)

    def get_description(self) -> str:
        """``Live{ParentBased{Ratio{0.5}}}``, with what is in force inside."""
        return f"Live{{ParentBased{{Ratio{{{self._ratio}}}}}}}"
