import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.policy.globs import LONGEST
from llm_observe.policy.matching import Known
from llm_observe.policy.sampling import (
    RANGE,
    Head,
    SamplingPolicy,
    randomness,
    session_randomness,
    threshold,
    without_threshold,
    written_threshold,
)
from llm_observe.settings.model import Sampling, SamplingRule, TraceMatcher
from tests.policy.seeded import seeded_ids

ids = st.integers(min_value=1, max_value=(1 << 128) - 1)
ratios = st.floats(min_value=0, max_value=1)


def known(policy: SamplingPolicy, **values: str) -> Known:
    """These values in the order that the policy wants; attributes by their key."""
    told = [values.get(key or name, None if key else "") for name, key in policy.wants]
    assert {key or name for name, key in policy.wants} >= set(values)
    return tuple(told)


def keeps(trace_id: int, ratio: float) -> bool:
    return SamplingPolicy(Sampling(ratio=ratio)).head(trace_id).keep


@given(ids, ratios, ratios)
def test_a_larger_ratio_keeps_what_a_smaller_one_kept(trace_id: int, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert keeps(trace_id, high) or not keeps(trace_id, low)


@given(ids)
def test_zero_keeps_none_and_one_keeps_all(trace_id: int) -> None:
    assert not keeps(trace_id, 0)
    assert keeps(trace_id, 1)


@pytest.mark.parametrize("ratio", [0.001, 0.01, 0.1, 0.25, 0.5, 0.9, 0.999])
def test_the_share_kept_is_within_three_sigma_over_100_000_traces(ratio: float) -> None:
    policy = SamplingPolicy(Sampling(ratio=ratio))
    heads = [policy.head(trace_id) for trace_id in seeded_ids(100_000)]
    kept = sum(head.keep for head in heads)
    assert abs(kept - len(heads) * ratio) <= 3 * math.sqrt(len(heads) * ratio * (1 - ratio))


@pytest.mark.parametrize("ratio", [0.001, 0.01, 0.1, 0.5, 1.0])
def test_the_whole_can_be_estimated_from_the_thresholds_of_what_was_kept(ratio: float) -> None:
    """Each kept trace stands for ``2**56 / (2**56 - th)`` ("Adjusted count")."""
    policy = SamplingPolicy(Sampling(ratio=ratio))
    heads = [policy.head(trace_id) for trace_id in seeded_ids(100_000)]
    estimate = sum(adjusted_count(head.trace_state) for head in heads if head.keep)
    assert abs(estimate - len(heads)) <= 3 * math.sqrt(len(heads) * (1 - ratio) / ratio)


def adjusted_count(written: str) -> float:
    bar = int(written.removeprefix("th:").ljust(14, "0"), 16)
    return RANGE / (RANGE - bar)


@pytest.mark.parametrize(
    ("ratio", "written"),
    [
        (1.0, "0"),
        (0.75, "4"),
        (0.5, "8"),
        (0.25, "c"),
        (0.1, "e6666666666666"),
        (0.01, "fd70a3d70a3d7"),
    ],
)
def test_a_threshold_is_written_as_the_specification_shows(ratio: float, written: str) -> None:
    assert written_threshold(threshold(ratio)).startswith(written)
    assert len(written_threshold(threshold(ratio))) <= 14


@given(ids, ratios)
def test_what_is_kept_tells_its_threshold_and_what_is_dropped_none(
    trace_id: int, ratio: float
) -> None:
    head = SamplingPolicy(Sampling(ratio=ratio)).head(trace_id)
    assert head.keep is (randomness(trace_id) >= threshold(ratio))
    assert head.trace_state == (f"th:{written_threshold(threshold(ratio))}" if head.keep else "")


def test_a_share_of_nothing_is_off() -> None:
    assert SamplingPolicy(Sampling(ratio=0)).off()
    assert SamplingPolicy(Sampling(ratio=0)).head(RANGE - 1) == Head(False, "", off=True)
    assert not SamplingPolicy(Sampling(ratio=1e-6)).head(1).off


@given(ids)
def test_randomness_is_the_end_of_the_id(trace_id: int) -> None:
    assert randomness(trace_id) == int(f"{trace_id:032x}"[-14:], 16)


@pytest.mark.parametrize(
    ("before", "after"),
    [("th:8", ""), ("th:8;rv:00000000000001", "rv:00000000000001"), ("x:1;th:0;y:2", "x:1;y:2")],
)
def test_a_dropped_trace_keeps_all_but_its_threshold(before: str, after: str) -> None:
    assert without_threshold(before) == after


def test_rules_give_other_shares_to_the_traces_they_match() -> None:
    rules = {
        "pay": SamplingRule(match=TraceMatcher(route="/pay/*"), ratio=1.0, order=1),
        "noise": SamplingRule(match=TraceMatcher(service="batch|cron"), ratio=0.0),
    }
    policy = SamplingPolicy(Sampling(ratio=0.5, rules=rules))
    assert policy.wants == (("route", ""), ("service", ""))
    assert policy.head(1, known(policy, route="/pay/now", service="cron")) == Head(True, "th:0")
    assert policy.head(RANGE - 1, known(policy, service="cron")) == Head(False, "", off=True)
    assert policy.head(RANGE - 1, known(policy, service="web")) == Head(True, "th:8")
    assert policy.off(known(policy, service="cron"))
    assert not policy.off(known(policy))
    assert policy.may_be_off


def test_an_attribute_that_is_not_there_is_not_an_empty_one() -> None:
    rules = {"any": SamplingRule(match=TraceMatcher(attributes={"tenant": "*"}), ratio=1.0)}
    policy = SamplingPolicy(Sampling(ratio=0, rules=rules))
    assert policy.head(1, known(policy, tenant="")).keep
    assert not policy.head(1, known(policy)).keep


def test_of_rules_with_the_same_order_the_first_by_name_decides() -> None:
    rules = {"b": SamplingRule(ratio=0.0), "a": SamplingRule(ratio=1.0)}
    assert SamplingPolicy(Sampling(ratio=0, rules=rules)).head(1).keep
    rules["b"] = SamplingRule(ratio=0.0, order=99)
    assert not SamplingPolicy(Sampling(ratio=0, rules=rules)).head(1).keep


@given(st.text(min_size=1, max_size=20), ids, ids)
def test_a_session_is_kept_or_dropped_whole(session: str, one: int, other: int) -> None:
    policy = SamplingPolicy(Sampling(ratio=0.5, by="session"))
    first, second = (policy.head(trace, (session,)) for trace in (one, other))
    assert first == second
    assert first.keep is (session_randomness(session) >= RANGE // 2)
    assert first.trace_state.endswith(f"rv:{session_randomness(session):014x}")
    assert first.trace_state.startswith("th:8;") is first.keep


def test_without_a_session_a_trace_is_chosen_by_its_id() -> None:
    policy = SamplingPolicy(Sampling(ratio=0.5, by="session"))
    assert policy.head(RANGE - 1, ("",)) == Head(True, "th:8")
    assert policy.head(1, ("",)) == Head(False)


def test_the_share_of_sessions_is_within_three_sigma() -> None:
    policy = SamplingPolicy(Sampling(ratio=0.2, by="session"))
    kept = sum(policy.head(1, (f"s-{number}",)).keep for number in range(20_000))
    assert abs(kept - 4000) <= 3 * math.sqrt(20_000 * 0.2 * 0.8)


def test_a_session_is_judged_by_the_share_of_its_rule() -> None:
    rules = {"vip": SamplingRule(match=TraceMatcher(session="vip-*"), ratio=1.0)}
    policy = SamplingPolicy(Sampling(ratio=0, by="session", rules=rules))
    assert policy.head(1, ("vip-1",)).trace_state.startswith("th:0;rv:")
    assert policy.head(1, ("s-1",)).off


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1])
def test_sessions_of_any_length_are_told_apart_by_their_ends(length: int) -> None:
    policy = SamplingPolicy(Sampling(ratio=0.5, by="session"))
    sessions = ["s" * (length - 1) + end for end in "abcdefgh"]
    for session in sessions * 2:
        written = f"rv:{session_randomness(session):014x}"
        assert policy.head(1, (session,)).trace_state.endswith(written)


def test_only_so_many_kinds_of_traces_are_remembered_and_no_long_ones() -> None:
    rules = {"vip": SamplingRule(match=TraceMatcher(user="vip-*"), ratio=1.0)}
    policy = SamplingPolicy(Sampling(ratio=0, by="session", rules=rules))
    before = policy.remembered
    for number in range(3000):
        policy.head(1, (f"s-{number}", "vip-1"))
    assert before < policy.remembered <= 1024
    full = policy.remembered
    fresh = SamplingPolicy(Sampling(ratio=0, by="session"))
    fresh.head(1, ("s" * (LONGEST + 1),))
    assert (fresh.remembered, full) == (0, 1024)
