"""A sampler whose ratio changes while the program runs.

Tracers keep the sampler they were made with, so this one stays and swaps what is inside: one
reference store, seen whole by every thread. Inside is always parent-based, so that a change in
the middle of a trace never tears it.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from llm_observe.policy.sampling import keeps
from llm_observe.settings.model import Sampling


class RatioSampler(Sampler):
    """Keeps a share of root spans by `llm_observe.policy.sampling.keeps`."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio

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
        """Keep or drop, by trace id."""
        state = get_current_span(parent_context).get_span_context().trace_state
        if keeps(trace_id, self.ratio):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        return SamplingResult(Decision.DROP, None, state)

    def get_description(self) -> str:
        """``Ratio{0.5}``."""
        return f"Ratio{{{self.ratio}}}"


class LiveSampler(Sampler):
    """Delegates to the sampler of the settings in force."""

    def __init__(self, sampling: Sampling) -> None:
        self._delegate = _build(sampling)

    def swap(self, sampling: Sampling) -> None:
        """Put other settings in force; traces that have begun keep their decision."""
        self._delegate = _build(sampling)

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
        """Ask the sampler in force."""
        return self._delegate.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        """``Live{…}``, with what is in force inside."""
        return f"Live{{{self._delegate.get_description()}}}"


def _build(sampling: Sampling) -> Sampler:
    # Ratio 0 means off: a caller in another process that sampled its trace must not switch it on.
    remote = ALWAYS_ON if sampling.ratio > 0 else ALWAYS_OFF
    return ParentBased(RatioSampler(sampling.ratio), remote_parent_sampled=remote)
