"""Waits between tries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.tracing.export.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 4.0, 100.0, chance=lambda: 1.0)
    waits = []
    for _ in range(6):
        backoff.failed(10.0)
        waits.append(backoff.retry_at - 10.0)
    assert waits == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


@given(st.integers(1, 5000), st.floats(0, 1))
def test_a_wait_is_never_longer_than_the_bound_nor_shorter_than_half_the_first(
    failures: int, chance: float
) -> None:
    backoff = Backoff(0.5, 30.0, 120.0, chance=lambda: chance)
    for _ in range(failures):
        backoff.failed(0.0)
    assert 0.25 <= backoff.retry_at <= 30.0


@pytest.mark.parametrize(("asked", "wait"), [(7.0, 7.0), (0.0, 0.0), (-3.0, 0.0), (9999.0, 120.0)])
def test_a_wait_that_was_asked_for_is_obeyed_within_the_bound(asked: float, wait: float) -> None:
    backoff = Backoff(0.5, 30.0, 120.0, chance=lambda: 0.0)
    backoff.failed(1.0, asked)
    assert backoff.retry_at == 1.0 + wait


def test_hurrying_shortens_our_own_waits_but_not_those_asked_for() -> None:
    backoff = Backoff(0.5, 30.0, 120.0, chance=lambda: 1.0)
    backoff.failed(1.0)
    backoff.hurry()
    assert backoff.retry_at == 0.0
    backoff.failed(1.0, 5.0)
    backoff.hurry()
    assert backoff.retry_at == 6.0


def test_success_starts_over() -> None:
    backoff = Backoff(0.5, 30.0, 120.0, chance=lambda: 1.0)
    backoff.failed(1.0, 60.0)
    backoff.reset()
    assert (backoff.failures, backoff.retry_at) == (0, 0.0)
    backoff.failed(2.0)
    assert backoff.retry_at == 2.5
