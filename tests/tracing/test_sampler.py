import threading

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from llm_observe.settings.model import Sampling
from llm_observe.tracing.sampler import LiveSampler


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


def test_its_description_tells_what_is_in_force() -> None:
    assert "Ratio{0.25}" in LiveSampler(Sampling(ratio=0.25)).get_description()


parents = st.none() | st.builds(
    lambda span, is_remote, flags, state: SpanContext(7, span, is_remote, TraceFlags(flags), state),
    st.integers(0, 2),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([TraceState(), TraceState([("vendor", "x")])]),
)


@settings(deadline=None)
@given(st.integers(1, 2**128 - 1), st.floats(0.001, 1) | st.just(1.0), parents)
def test_its_rule_is_that_of_opentelemetrys_parent_based_sampler(
    trace_id: int, ratio: float, parent: SpanContext | None
) -> None:
    here = Context() if parent is None else set_span_in_context(NonRecordingSpan(parent))
    ours = LiveSampler(Sampling(ratio=ratio))
    found = ours.should_sample(here, trace_id, "s", attributes={"a": 1})
    theirs = ParentBased(TraceIdRatioBased(ratio)).should_sample(
        here, trace_id, "s", attributes={"a": 1}
    )
    assert found.decision is theirs.decision
    assert dict(found.attributes) == dict(theirs.attributes)
    assert (found.trace_state or TraceState()) == (theirs.trace_state or TraceState())
    kept = found.decision is Decision.RECORD_AND_SAMPLE
    assert ours.samples(trace_id, parent) == kept
