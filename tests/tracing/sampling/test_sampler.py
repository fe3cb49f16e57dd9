import itertools
import threading
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openinference.instrumentation import using_session
from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llm_observe.policy.sampling import session_randomness
from llm_observe.settings.model import KeepRules, Sampling, SamplingRule, TraceMatcher
from llm_observe.tracing.around.context import context
from llm_observe.tracing.gate import gate
from llm_observe.tracing.sampling.sampler import LiveSampler


def sampled(provider: TracerProvider, n: int = 400, **options: object) -> int:
    tracer = provider.get_tracer("t")
    spans = [tracer.start_span("s", **options) for _ in range(n)]  # type: ignore[arg-type]  # options of start_span
    return sum(span.is_recording() for span in spans)


def test_a_tracer_taken_before_follows_the_swap() -> None:
    sampler = LiveSampler(Sampling(ratio=1))
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    assert sampled(provider) == 400
    sampler.swap(Sampling(ratio=0))
    assert sampled(provider) == 0
    sampler.swap(Sampling(ratio=0.5))
    assert 100 < sampled(provider) < 300
    sampler.swap(Sampling(ratio=1))
    assert sampled(provider) == 400


def remote(is_sampled: bool) -> Context:
    flags = TraceFlags(TraceFlags.SAMPLED if is_sampled else 0)
    return set_span_in_context(NonRecordingSpan(SpanContext(1, 1, True, flags)))


def test_a_remote_parent_decides_unless_the_ratio_is_zero() -> None:
    sampler = LiveSampler(Sampling(ratio=0.001))
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    assert sampled(provider, 10, context=remote(True)) == 10
    assert sampled(provider, 10, context=remote(False)) == 0
    sampler.swap(Sampling(ratio=0))
    assert sampled(provider, 10, context=remote(True)) == 0


def test_a_change_in_the_middle_of_a_trace_never_tears_it() -> None:
    sampler = LiveSampler(Sampling(ratio=0.5))
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    tracer = provider.get_tracer("t")
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            for ratio in (0.0, 0.2, 0.8, 1.0):
                sampler.swap(Sampling(ratio=ratio))

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        for _ in range(200):
            with tracer.start_as_current_span("root") as root:
                children = [tracer.start_span("child") for _ in range(5)]
                assert {child.is_recording() for child in children} == {root.is_recording()}
    finally:
        stop.set()
        thread.join(30)


def test_no_trace_is_incomplete_while_the_ratio_is_flipped_a_thousand_times() -> None:
    sampler = LiveSampler(Sampling(ratio=0.5))
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("t")
    flips = itertools.cycle((0.0, 0.2, 1.0, 0.8))
    whole = 0
    for _ in range(250):
        with tracer.start_as_current_span("root") as root:
            recorded = root.is_recording()
            for ratio in itertools.islice(flips, 4):
                sampler.swap(Sampling(ratio=ratio))
                with tracer.start_as_current_span("child") as child:
                    assert child.is_recording() is recorded
                    assert (
                        child.get_span_context().trace_state == root.get_span_context().trace_state
                    )
        sampler.swap(Sampling(ratio=0.5))
        whole += recorded
    assert 75 < whole < 175


def test_its_description_tells_what_is_in_force() -> None:
    assert "Ratio{0.25}" in LiveSampler(Sampling(ratio=0.25)).get_description()


parents = st.builds(
    lambda span, is_remote, flags, state: SpanContext(7, span, is_remote, TraceFlags(flags), state),
    st.integers(1, 2),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([TraceState(), TraceState([("vendor", "x"), ("ot", "th:8;rv:" + "f" * 14)])]),
)
trace_ids = st.integers(1, 2**128 - 1)
ratios = st.floats(0.001, 1) | st.just(1.0)


@settings(deadline=None)
@given(trace_ids, ratios, parents)
def test_a_child_follows_its_parent_as_opentelemetrys_parent_based_sampler_has_it(
    trace_id: int, ratio: float, parent: SpanContext
) -> None:
    here = set_span_in_context(NonRecordingSpan(parent))
    ours = LiveSampler(Sampling(ratio=ratio))
    found = ours.should_sample(here, trace_id, "s", attributes={"a": 1})
    theirs = ParentBased(TraceIdRatioBased(ratio)).should_sample(
        here, trace_id, "s", attributes={"a": 1}
    )
    assert found.decision is theirs.decision
    assert dict(found.attributes) == dict(theirs.attributes)
    assert found.trace_state == theirs.trace_state
    assert ours.decide(trace_id, parent, here, dict) == (found.decision, found.trace_state)


@settings(deadline=None)
@given(trace_ids, ratios)
def test_a_root_is_kept_as_opentelemetrys_consistent_sampler_has_it(
    trace_id: int, ratio: float
) -> None:
    experimental = pytest.importorskip("opentelemetry.sdk.trace._sampling_experimental")
    sampler = experimental.composite_sampler(experimental.composable_traceid_ratio_based(ratio))
    theirs = sampler.should_sample(Context(), trace_id, "s", attributes={"a": 1})
    found = LiveSampler(Sampling(ratio=ratio)).should_sample(
        Context(), trace_id, "s", attributes={"a": 1}
    )
    assert found.decision is theirs.decision
    if found.decision is Decision.RECORD_AND_SAMPLE:
        assert found.trace_state == theirs.trace_state
    assert bool(found.attributes) == (found.decision is Decision.RECORD_AND_SAMPLE)


@pytest.mark.parametrize(
    ("said", "left"),
    [("th:8", None), ("th:8;rv:ffffffffffffff", "rv:ffffffffffffff"), ("x:1", "x:1")],
)
def test_a_trace_that_is_off_here_goes_on_without_the_threshold_it_came_with(
    said: str, left: str | None
) -> None:
    state = TraceState([("vendor", "x"), ("ot", said)])
    parent = SpanContext(7, 1, True, TraceFlags(TraceFlags.SAMPLED), state)
    decision, after = LiveSampler(Sampling(ratio=0)).decide(7, parent, Context(), dict)
    assert decision is Decision.DROP
    assert after is not None
    assert (after.get("vendor"), after.get("ot")) == ("x", left)


def test_the_threshold_of_a_root_goes_with_its_trace_to_children_and_other_services() -> None:
    provider = TracerProvider(sampler=LiveSampler(Sampling(ratio=0.5)), shutdown_on_exit=False)
    tracer, carried = provider.get_tracer("t"), dict[str, str]()
    root = next(span for span in iter(partial(tracer.start_span, "root"), 0) if is_kept(span))
    child = tracer.start_span("child", set_span_in_context(root))
    TraceContextTextMapPropagator().inject(carried, set_span_in_context(child))
    assert carried["tracestate"] == "ot=th:8"
    there = TraceContextTextMapPropagator().extract(carried)
    other = TracerProvider(sampler=LiveSampler(Sampling(ratio=1e-6)), shutdown_on_exit=False)
    downstream = other.get_tracer("t").start_span("downstream", there)
    assert is_kept(downstream)
    assert downstream.get_span_context().trace_state.get("ot") == "th:8"


def is_kept(span: Span) -> bool:
    return span.get_span_context().trace_flags.sampled


def test_rules_see_the_root_and_decide_for_the_whole_trace() -> None:
    rules = {
        "pay": SamplingRule(match=TraceMatcher(route="/pay/*"), ratio=1),
        "vip": SamplingRule(match=TraceMatcher(user="ann"), ratio=1),
    }
    sampler = LiveSampler(Sampling(ratio=0, rules=rules))
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("t")
    with tracer.start_as_current_span("root", attributes={"http.route": "/pay/now"}) as root:
        assert is_kept(root)
        assert is_kept(tracer.start_span("child", attributes={"http.route": "/other"}))
    with tracer.start_as_current_span("root", attributes={"http.route": "/other"}) as root:
        assert not is_kept(root)
        assert not is_kept(tracer.start_span("child", attributes={"http.route": "/pay/now"}))
    with context(user="ann"):
        assert is_kept(tracer.start_span("root"))


def test_a_rule_with_the_share_zero_is_off_for_callers_elsewhere_too() -> None:
    rules = {"health": SamplingRule(match=TraceMatcher(route="/healthz"), ratio=0)}
    sampler = LiveSampler(Sampling(ratio=1, rules=rules))
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("t")
    assert not is_kept(tracer.start_span("s", remote(True), attributes={"http.route": "/healthz"}))
    assert is_kept(tracer.start_span("s", remote(True), attributes={"http.route": "/"}))


def test_a_fault_in_a_rule_reaches_no_one_and_the_share_of_all_others_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> dict[str, str]:
        raise ValueError("whatever")

    monkeypatch.setattr(gate, "reraise", False)
    monkeypatch.setattr(gate, "count", 0)
    rules = {"r": SamplingRule(match=TraceMatcher(route="/x"), ratio=0)}
    sampler = LiveSampler(Sampling(ratio=1, rules=rules))
    found = sampler.decide(1, None, Context(), broken)
    assert found[0] is Decision.RECORD_AND_SAMPLE
    assert gate.count == 1


def test_two_processes_keep_the_same_sessions_whole() -> None:
    """Each with a sampler of its own; the other knows the session from baggage alone."""
    sampling = Sampling(ratio=0.5, by="session")
    here, there = (
        TracerProvider(sampler=LiveSampler(sampling), shutdown_on_exit=False).get_tracer("t")
        for _ in range(2)
    )
    kept = 0
    for number in range(100):
        with context(session=f"s-{number}"):
            own = {is_kept(here.start_span("turn")) for _ in range(5)}
        carried = baggage.set_baggage("session.id", f"s-{number}", Context())
        other = {is_kept(there.start_span("turn", carried)) for _ in range(5)}
        assert own == other
        assert len(own) == 1
        kept += own.pop()
    assert 30 < kept < 70


def test_a_session_gives_its_traces_its_randomness_which_goes_on_with_them() -> None:
    sampler = LiveSampler(Sampling(ratio=1, by="session"))
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("t")
    with using_session("s-1"):
        states = {tracer.start_span("s").get_span_context().trace_state.get("ot") for _ in "ab"}
    assert states == {f"th:0;rv:{session_randomness('s-1'):014x}"}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("llm_observe.tracing.sampling.sampler.time", clock)
    return clock


def test_so_many_traces_a_second_begin_here_and_no_trace_is_torn(clock: Clock) -> None:
    sampler = LiveSampler(Sampling(per_second=3))
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("t")
    roots = [tracer.start_span("root") for _ in range(10)]
    assert [is_kept(root) for root in roots] == [True] * 3 + [False] * 7
    children = [tracer.start_span("child", set_span_in_context(root)) for root in roots * 5]
    assert [is_kept(child) for child in children] == [is_kept(root) for root in roots] * 5
    assert is_kept(tracer.start_span("s", remote(True)))
    clock.now += 1
    assert sum(is_kept(tracer.start_span("root")) for _ in range(10)) == 3


def test_a_bound_that_stays_goes_on_counting_through_other_changes(clock: Clock) -> None:
    sampler = LiveSampler(Sampling(per_second=1))
    assert sampled(TracerProvider(sampler=sampler, shutdown_on_exit=False), 5) == 1
    sampler.swap(Sampling(per_second=1, ratio=0.999))
    assert sampled(TracerProvider(sampler=sampler, shutdown_on_exit=False), 5) == 0
    sampler.after_fork_in_child()
    assert sampled(TracerProvider(sampler=sampler, shutdown_on_exit=False), 5) >= 1
    sampler.swap(Sampling())
    assert sampled(TracerProvider(sampler=sampler, shutdown_on_exit=False), 5) == 5


def test_while_the_bound_refuses_traces_those_that_pass_claim_no_share(clock: Clock) -> None:
    sampler = LiveSampler(Sampling(per_second=2))

    def said() -> str | None:
        state = sampler.decide(1, None, Context(), dict)[1]
        return None if state is None else state.get("ot")

    assert [said(), said(), said()] == ["th:0", "th:0", None]
    clock.now += 0.9
    assert said() is None
    clock.now += 5
    assert said() == "th:0"


def test_a_forked_child_holds_nothing_of_its_parents() -> None:
    sampler = LiveSampler(Sampling(ratio=1e-9, keep=KeepRules(errors=True)))
    assert sampler.decide(1, None, Context(), dict)[0] is Decision.RECORD_ONLY
    assert sampler.held.holds(1)
    sampler.after_fork_in_child()
    assert not sampler.held.holds(1)
    assert sampler.decide(2, None, Context(), dict)[0] is Decision.RECORD_ONLY


def test_a_part_of_a_trace_that_others_dropped_is_held_and_passes_their_state_on() -> None:
    sampler = LiveSampler(Sampling(ratio=1e-9, keep=KeepRules(errors=True)))
    state = TraceState([("vendor", "x")])
    parent = SpanContext(7, 1, True, TraceFlags(0), state)
    assert sampler.decide(7, parent, Context(), dict) == (Decision.RECORD_ONLY, state)
    off = LiveSampler(Sampling(ratio=0, keep=KeepRules(errors=True)))
    assert off.decide(7, parent, Context(), dict)[0] is Decision.DROP
