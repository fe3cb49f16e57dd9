"""Items come whole and in order, and the turn is passed on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from llm_observe.tracing.export.turns import in_turns


def test_nothing_is_lost_and_nothing_is_asked_for_early() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    items = in_turns(numbers())
    assert next(items) == 0
    assert taken == [0]
    assert [*items] == [*range(1, 20)]


def test_another_thread_runs_before_a_long_work_is_over() -> None:
    turn = threading.Event()
    thread = threading.Thread(target=turn.set)
    seen = []
    for _ in in_turns(range(1_000_000)):
        if thread.ident is None:
            thread.start()
        seen.append(turn.is_set())
        if seen[-1]:
            break
    thread.join()
    assert seen[-1]
