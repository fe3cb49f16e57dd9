"""Traces that the head dropped and that may yet be kept, while they go on.

Written on the application's threads and on the intake's. There is no lock: each change is one
operation on a dict or a set.
"""

from __future__ import annotations

from collections import deque

from opentelemetry.trace import SpanContext


class HeldTrace:
    """One of them."""

    __slots__ = ("gone", "open", "reason")

    def __init__(self) -> None:
        self.open: set[int] = set()
        """Ids of its spans that have begun and not arrived at the tail."""
        self.reason = ""
        """The rule by which it is kept, once that is known."""
        self.gone = False
        """It was dropped beyond the bounds."""


class HeldTraces:
    """By trace id, in the order in which they began."""

    def __init__(self) -> None:
        self.most = 0
        """How many there may be."""
        self.pushed_out: deque[HeldTrace] = deque()
        """Those that were dropped to make room for newer ones, for the tail to count."""
        self._traces: dict[int, HeldTrace] = {}

    def hold(self, trace_id: int) -> None:
        """A trace begins here, or another part of it does."""
        traces = self._traces
        if trace_id not in traces:
            traces.setdefault(trace_id, HeldTrace())  # another thread may be as far
        while len(traces) > (self.most or 1):
            self._push_out()

    def holds(self, trace_id: int) -> bool:
        """Whether spans of this trace are recorded although it is not sampled."""
        return trace_id in self._traces

    def began(self, span: SpanContext) -> None:
        """A span of a trace that may be held has begun."""
        held = self._traces.get(span.trace_id)
        if held is not None:
            held.open.add(span.span_id)

    def of(self, span: SpanContext | None) -> HeldTrace | None:
        """The trace that a span belongs to, if it is held."""
        return None if span is None else self._traces.get(span.trace_id)

    def drop(self, trace_id: int) -> HeldTrace | None:
        """It is held no longer; what was held."""
        held = self._traces.pop(trace_id, None)
        if held is not None and not held.reason:
            held.gone = True
        return held

    def clear(self) -> None:
        """In a forked child: all of them are the parent's."""
        self._traces = {}
        self.pushed_out.clear()

    def _push_out(self) -> None:
        try:
            oldest = next(iter(self._traces))
        except (StopIteration, RuntimeError):  # another thread was faster
            return
        held = self.drop(oldest)
        if held is not None:
            self.pushed_out.append(held)
