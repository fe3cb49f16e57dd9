from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from llm_observe.policy.sampling import keeps

ids = st.integers(min_value=1, max_value=(1 << 128) - 1)
ratios = st.floats(min_value=0, max_value=1)


@given(ids, ratios)
def test_the_decision_is_that_of_opentelemetry(trace_id: int, ratio: float) -> None:
    theirs = TraceIdRatioBased(ratio).should_sample(None, trace_id, "")
    assert keeps(trace_id, ratio) is (theirs.decision is Decision.RECORD_AND_SAMPLE)


@given(ids, ratios, ratios)
def test_a_larger_ratio_keeps_what_a_smaller_one_kept(trace_id: int, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert keeps(trace_id, high) or not keeps(trace_id, low)


@given(ids)
def test_zero_keeps_none_and_one_keeps_all(trace_id: int) -> None:
    assert not keeps(trace_id, 0)
    assert keeps(trace_id, 1)
