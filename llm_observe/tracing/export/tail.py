"""Traces that the head dropped, held until it is known how they went.

A trace is judged when its local root has ended and so have all spans that began inside. One that
is kept leaves whole, and what of it ends later follows. Used by one thread, the intake's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from llm_observe.policy.keeping import Facts, reason
from llm_observe.settings.model import KeepRules
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.facts import facts_of
from llm_observe.tracing.sampling.held import HeldTrace, HeldTraces

_MIB = 1024 * 1024


class TailCounts(NamedTuple):
    """Since the process began, but for ``held``."""

    held: int = 0
    """Spans that wait for the end of their trace."""
    kept: int = 0
    """Traces exported for how they went."""
    unjudged: int = 0
    """Spans dropped beyond the bounds, before their trace was over."""


class _Waiting:
    """What has ended of one trace."""

    def __init__(self, held: HeldTrace) -> None:
        self.held, self.facts, self.size = held, Facts(), 0
        self.entries: list[Entry] = []
        self.rooted = False
        self.touched = 0.0

    def add(self, entry: Entry, now: float) -> None:
        self.entries.append(entry)
        self.facts += facts_of(entry)
        self.size += entry.size
        self.rooted |= _is_local_root(entry)
        self.touched = now

    @property
    def over(self) -> bool:
        return self.rooted and not self.held.open


class Tail:
    """Takes the ended spans of held traces.

    Args:
        traces: Where the application's threads note what begins.
        rules: Those in force.
        forward: Takes what is kept.
    """

    def __init__(
        self, traces: HeldTraces, rules: Callable[[], KeepRules], forward: Callable[[Entry], None]
    ) -> None:
        self._traces, self._rules, self._forward = traces, rules, forward
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._settled: OrderedDict[int, tuple[HeldTrace, float]] = OrderedDict()
        self._spans = self._bytes = self._kept = self._unjudged = 0
        self.sampled_out = 0
        """Calls that were not kept."""

    @property
    def counts(self) -> TailCounts:
        """As of now; any thread."""
        return TailCounts(self._spans, self._kept, self._unjudged)

    def offer(self, entry: Entry, now: float) -> None:
        """An ended span of a held trace."""
        held, identity = entry.held, entry.span.get_span_context()
        if held is None or identity is None or held.gone:
            self._discard([entry])
            return
        held.open.discard(identity.span_id)
        if held.reason:
            self._settled[identity.trace_id] = (held, now)
            self._forward(entry._replace(kept=held.reason))
        else:
            self._wait(identity.trace_id, held, entry, now)

    def sweep(self, now: float) -> None:
        """Judge what has waited long enough; forget what was kept and has been quiet since."""
        longest = self._rules().buffer_s
        self._count_pushed_out()
        for trace_id, waiting in [*self._waiting.items()]:
            if waiting.held.gone:
                self._lose(self._taken(trace_id))
            elif now - waiting.touched > longest:
                self._judge(trace_id, now)
        for trace_id, (held, since) in [*self._settled.items()]:
            if now - since > longest and not held.open:
                del self._settled[trace_id]
                self._traces.drop(trace_id)

    def close(self, now: float) -> None:
        """The process ends: judge all that is there."""
        for trace_id in [*self._waiting]:
            self._judge(trace_id, now)

    def _wait(self, trace_id: int, held: HeldTrace, entry: Entry, now: float) -> None:
        waiting = self._waiting.setdefault(trace_id, _Waiting(held))
        if waiting.held is not held:  # pushed out, and another part of the trace began since
            self._lose(self._taken(trace_id))
            waiting = self._waiting[trace_id] = _Waiting(held)
        before = waiting.size
        waiting.add(entry, now)
        self._spans += 1
        self._bytes += waiting.size - before
        if waiting.over:
            self._judge(trace_id, now)
        self._keep_to_bounds()

    def _keep_to_bounds(self) -> None:
        rules = self._rules()
        while self._spans > rules.buffer_spans or self._bytes > rules.buffer_mib * _MIB:
            self._abandon(next(iter(self._waiting)))

    def _judge(self, trace_id: int, now: float) -> None:
        waiting = self._waiting[trace_id]
        why = reason(waiting.facts, self._rules())
        if why:
            self._keep(trace_id, self._taken(trace_id), why, now)
        elif waiting.over:
            self._traces.drop(trace_id)
            self._discard(self._taken(trace_id).entries)
        else:
            self._abandon(trace_id)

    def _keep(self, trace_id: int, waiting: _Waiting, why: str, now: float) -> None:
        waiting.held.reason = why
        self._kept += 1
        self._settled[trace_id] = (waiting.held, now)
        for entry in waiting.entries:
            self._forward(entry._replace(kept=why))

    def _abandon(self, trace_id: int) -> None:
        """It is not over; what of it is under way is lost as well."""
        waiting = self._taken(trace_id)
        self._traces.drop(trace_id)
        self._unjudged += len(waiting.held.open)
        self._lose(waiting)

    def _lose(self, waiting: _Waiting) -> None:
        self._unjudged += len(waiting.entries)
        self._discard(waiting.entries)

    def _discard(self, entries: list[Entry]) -> None:
        self.sampled_out += sum(entry.call is not None for entry in entries)

    def _count_pushed_out(self) -> None:
        while self._traces.pushed_out:
            self._unjudged += len(self._traces.pushed_out.popleft().open)

    def _taken(self, trace_id: int) -> _Waiting:
        waiting = self._waiting.pop(trace_id)
        self._spans -= len(waiting.entries)
        self._bytes -= waiting.size
        return waiting


def _is_local_root(entry: Entry) -> bool:
    parent = entry.span.parent
    return parent is None or parent.is_remote
