from __future__ import annotations

from itertools import islice

import pytest

from llm_observe.opamp.backoff import MAX_RETRY_AFTER_S, backoff, respecting


@pytest.mark.opamp("C-02")
def test_the_first_delay_is_none_and_the_others_double_to_a_ceiling() -> None:
    delays = list(islice(backoff(lambda: 1.0, initial_s=1.0, longest_s=5.0), 6))
    assert delays == [0.0, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_chance_takes_away_up_to_a_half() -> None:
    assert list(islice(backoff(lambda: 0.0, initial_s=1.0, longest_s=5.0), 3)) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("delay", "asked", "waited"),
    [
        (2.0, None, 2.0),
        (2.0, 1.0, 2.0),
        (2.0, 10.0, 10.5),
        (2.0, -5.0, 2.0),
        (2.0, 1e12, MAX_RETRY_AFTER_S * 1.05),
    ],
)
def test_a_server_is_given_the_time_it_asks_for_within_reason(
    delay: float, asked: float | None, waited: float
) -> None:
    assert respecting(delay, asked, lambda: 0.5) == pytest.approx(waited)
