import pytest

from llm_observe.policy.keeping import Facts, reason, wanted
from llm_observe.settings.model import KeepRules


@pytest.mark.parametrize(
    ("facts", "rules", "why"),
    [
        (Facts(error=True), KeepRules(errors=True), "errors"),
        (Facts(error=True), KeepRules(slower_than_s=1), ""),
        (Facts(duration_s=1.5), KeepRules(errors=True, slower_than_s=1), "slower_than_s"),
        (Facts(duration_s=1.0), KeepRules(slower_than_s=1), ""),
        (Facts(first_chunk_s=3), KeepRules(first_chunk_over_s=2), "first_chunk_over_s"),
        (Facts(tokens=101), KeepRules(tokens_over=100), "tokens_over"),
        (Facts(tokens=1), KeepRules(tokens_over=0), "tokens_over"),
        (Facts(cost_usd=0.2), KeepRules(cost_over_usd=0.1), "cost_over_usd"),
        (Facts(score=0.0), KeepRules(score_under=0.5), "score_under"),
        (Facts(), KeepRules(score_under=0.5), ""),
        (Facts(told_tokens=101), KeepRules(tokens_over=100), "tokens_over"),
        (Facts(tokens=60, told_tokens=60), KeepRules(tokens_over=100), ""),
        (Facts(told_cost_usd=0.2), KeepRules(cost_over_usd=0.1), "cost_over_usd"),
        (Facts(error=True, duration_s=9, tokens=9), KeepRules(), ""),
    ],
)
def test_a_trace_is_kept_by_the_first_rule_that_fits(
    facts: Facts, rules: KeepRules, why: str
) -> None:
    assert reason(facts, rules) == why
    assert wanted(rules) or not why


def test_facts_of_spans_add_up_to_those_of_their_trace() -> None:
    root = Facts(duration_s=5, score=0.9)
    calls = [
        Facts(duration_s=2, tokens=10, cost_usd=0.5, first_chunk_s=1),
        Facts(error=True, tokens=5, score=0.1),
    ]
    assert sum(calls, root) == Facts(
        error=True, duration_s=5, first_chunk_s=1, tokens=15, cost_usd=0.5, score=0.1
    )
