from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.opamp.twins import Turns

A, B = "127.0.0.1:1", "127.0.0.1:2"


def verdicts(said: Iterable[tuple[int, str]]) -> list[bool]:
    turns = Turns()
    return [turns.take(number, peer) for number, peer in said]


def test_an_agent_that_counts_on_is_one_agent() -> None:
    assert not any(verdicts((n, A) for n in range(10)))


def test_an_agent_that_restarts_is_one_agent() -> None:
    assert not any(verdicts([(5, A), (6, A), (0, B), (1, B), (2, B), (0, A), (1, A)]))


@pytest.mark.opamp("U-09")
def test_two_that_take_turns_are_two_and_the_second_is_named_each_time_until_it_is_gone() -> None:
    said = [(5, A), (0, B), (6, A), (1, B), (7, A), (2, B), (8, A), (9, A)]
    assert verdicts(said) == [False, False, False, True, False, True, False, False]


def test_two_that_began_together_are_two() -> None:
    said = [(0, A), (0, B), (1, A), (1, B), (2, A), (2, B)]
    assert any(verdicts(said))


def test_numbers_out_of_order_once_are_no_second_agent() -> None:
    assert not any(verdicts([(5, A), (7, B), (6, A), (8, B), (9, A), (10, B)]))


def test_over_one_connection_there_is_one_agent_however_it_counts() -> None:
    assert not any(verdicts([(1, A), (1, A), (3, A), (3, A), (5, A), (5, A), (4, A), (6, A)]))


@given(st.lists(st.integers(1, 2), max_size=50), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_gaps_and_restarts_never_look_like_two(steps: list[int], restarts: int) -> None:
    said = []
    for run in range(restarts + 1):
        number = 0
        for step in steps:
            said.append((number, f"{run}"))
            number += step
    assert not any(verdicts(said))


@given(st.integers(0, 100), st.lists(st.booleans(), max_size=60))
@settings(max_examples=40, deadline=None)
def test_two_that_both_go_on_speaking_are_found(first: int, order: list[bool]) -> None:
    numbers, said = {A: first, B: first + 1000}, []
    for is_first in [*order, True, False, True, False]:
        peer = A if is_first else B
        said.append((numbers[peer], peer))
        numbers[peer] += 1
    assert any(verdicts(said))
