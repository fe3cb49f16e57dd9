"""Held traces: judged when they are over, whole or not at all, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from llm_observe.settings.model import KeepRules
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.tail import Tail, TailCounts
from llm_observe.tracing.sampling.held import HeldTraces
from tests.tracing.export.drive import make_call

ERRORS = KeepRules(errors=True)


class World:
    """Traces that begin and end, and what comes of them."""

    def __init__(self, rules: KeepRules = ERRORS, most: int = 1000) -> None:
        self.rules, self.now = rules, 0.0
        self.traces, self.kept = HeldTraces(), list[tuple[int, int, str]]()
        self.traces.most = most
        self.tail = Tail(self.traces, lambda: self.rules, self._keep)

    def _keep(self, entry: Entry) -> None:
        identity = entry.span.get_span_context()
        assert identity is not None
        self.kept.append((identity.trace_id, identity.span_id, entry.kept))

    def begin(self, trace: int, span: int, parent: int = 0, remote: bool = False) -> ReadableSpan:
        if not parent or remote:
            self.traces.hold(trace)
        above = SpanContext(trace, parent, remote) if parent else None
        begun = ReadableSpan("s", SpanContext(trace, span, False, TraceFlags(0)), above)
        self.traces.began(begun.get_span_context() or SpanContext(0, 0, False))
        return begun

    def end(self, span: ReadableSpan, *, error: bool = False, call: bool = True) -> None:
        ended = ReadableSpan(
            "s", span.get_span_context(), span.parent, start_time=0, end_time=10**9,
            status=Status(StatusCode.ERROR if error else StatusCode.UNSET),
        )  # fmt: skip
        held = self.traces.of(ended.get_span_context())
        entry = Entry(ended, make_call() if call else None, held)
        self.tail.offer(entry, self.now)


def test_a_trace_with_an_error_anywhere_leaves_whole_with_the_rule_said_on_every_span() -> None:
    world = World()
    root = world.begin(7, 1)
    one, other = world.begin(7, 2, parent=1), world.begin(7, 3, parent=1)
    world.end(one)
    world.end(other, error=True)
    assert world.kept == []
    world.end(root)
    assert world.kept == [(7, 2, "errors"), (7, 3, "errors"), (7, 1, "errors")]
    assert world.tail.counts == TailCounts(held=0, kept=1, unjudged=0)


def test_a_trace_that_fits_no_rule_is_dropped_and_its_calls_are_counted() -> None:
    world = World()
    world.end(world.begin(7, 1))
    assert world.kept == []
    assert world.tail.sampled_out == 1
    assert world.tail.counts == TailCounts()
    assert not world.traces.holds(7)


def test_a_span_that_outlives_its_root_is_waited_for() -> None:
    world = World()
    root, stream = world.begin(7, 1), world.begin(7, 2, parent=1)
    world.end(root)
    assert world.tail.counts.held == 1
    world.end(stream, error=True)
    assert len(world.kept) == 2


def test_what_begins_in_a_kept_trace_afterwards_follows_it() -> None:
    world = World()
    world.end(world.begin(7, 1), error=True)
    assert world.traces.holds(7)
    world.end(world.begin(7, 2, parent=1))
    assert world.kept == [(7, 1, "errors"), (7, 2, "errors")]
    world.now = 59.0
    world.tail.sweep(world.now)
    assert world.traces.holds(7)
    world.now = 61.0
    world.tail.sweep(world.now)
    assert not world.traces.holds(7)


def test_a_part_of_a_trace_that_came_from_elsewhere_is_a_trace_here() -> None:
    world = World()
    world.end(world.begin(7, 2, parent=1, remote=True), error=True)
    assert world.kept == [(7, 2, "errors")]


def test_after_its_time_a_trace_is_judged_by_what_is_there() -> None:
    world = World(KeepRules(errors=True, buffer_s=5))
    for trace, error in ((7, True), (8, False)):
        world.begin(trace, 1)
        world.end(world.begin(trace, 2, parent=1), error=error)
    world.tail.sweep(5.0)
    assert world.tail.counts.held == 2
    world.tail.sweep(5.1)
    assert world.kept == [(7, 2, "errors")]
    assert world.tail.counts == TailCounts(held=0, kept=1, unjudged=2)
    assert (world.traces.holds(7), world.traces.holds(8)) == (True, False)


def test_at_the_end_of_the_process_all_is_judged() -> None:
    world = World()
    world.begin(7, 1)
    world.end(world.begin(7, 2, parent=1), error=True)
    world.tail.close(0.0)
    assert world.kept == [(7, 2, "errors")]


def test_beyond_the_number_of_spans_the_oldest_trace_is_dropped_whole_and_counted() -> None:
    world = World(KeepRules(errors=True, buffer_spans=3))
    roots = {trace: world.begin(trace, 1) for trace in (7, 8)}
    for trace, span in ((7, 2), (8, 2), (8, 3), (8, 4)):
        world.end(world.begin(trace, span, parent=1))
    assert world.tail.counts == TailCounts(held=3, kept=0, unjudged=2)
    world.end(roots[7], error=True)
    assert world.kept == []
    world.end(roots[8], error=True)
    assert len(world.kept) == 4


def test_beyond_the_size_the_oldest_trace_is_dropped() -> None:
    world = World(KeepRules(errors=True, buffer_mib=0.01))
    for trace in range(7, 17):
        world.begin(trace, 1)
        world.end(world.begin(trace, 2, parent=1))
    counts = world.tail.counts
    assert 0 < counts.held < 10
    assert counts.unjudged == 2 * (10 - counts.held)


def test_more_traces_at_once_than_there_is_room_for_push_the_oldest_out() -> None:
    world = World(most=2)
    roots = [world.begin(trace, 1) for trace in (7, 8, 9)]
    world.tail.sweep(0.0)
    assert world.tail.counts.unjudged == 1
    assert [world.traces.holds(trace) for trace in (7, 8, 9)] == [False, True, True]
    for root in roots:
        world.end(root, error=True)
    assert [trace for trace, _, _ in world.kept] == [8, 9]


def test_rules_that_change_hold_for_traces_that_are_held() -> None:
    world = World(KeepRules(slower_than_s=5))
    root = world.begin(7, 1)
    world.rules = KeepRules(slower_than_s=0.5)
    world.end(root)
    assert world.kept == [(7, 1, "slower_than_s")]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans()), min_size=1, max_size=30
    ),
    st.integers(1, 12),
)
def test_whatever_the_order_a_trace_leaves_whole_or_not_at_all(
    steps: list[tuple[int, int, bool]], most: int
) -> None:
    world = World(KeepRules(errors=True, buffer_spans=most))
    spans = {trace: [world.begin(trace, 1)] for trace in range(1, 5)}
    for trace, children, _ in steps:
        for _ in range(children):
            spans[trace].append(world.begin(trace, len(spans[trace]) + 1, parent=1))
    failing = {trace for trace, _, error in steps if error}
    for trace, begun in spans.items():
        for span in reversed(begun):
            world.end(span, error=trace in failing)
    for trace, begun in spans.items():
        left = [span for found, span, _ in world.kept if found == trace]
        fits = trace in failing and len(begun) <= most + 1  # the last one ends it
        assert sorted(left) == ([*range(1, len(begun) + 1)] if fits else [])
    lost = sum(len(begun) for begun in spans.values() if len(begun) > most + 1)
    assert world.tail.counts.held == 0
    assert world.tail.counts.unjudged == lost


@pytest.mark.parametrize("rules", [KeepRules(), KeepRules(tokens_over=10)])
def test_nothing_is_kept_that_no_rule_wants(rules: KeepRules) -> None:
    world = World(rules)
    world.end(world.begin(7, 1), error=True)
    assert world.kept == []
