"""What the program sees of its signals while ours stand in; the ends themselves: tests/processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from llm_observe.agent import signals

TERM = signal.SIGTERM


@pytest.fixture
def said() -> Iterator[list[str]]:
    words: list[str] = []
    before = signal.getsignal(TERM)
    signal.signal(TERM, signal.SIG_DFL)
    signals.stand_in(lambda: words.append("last"))
    yield words
    signals.stand_down()
    signal.signal(TERM, before)


def handler(number: int, frame: FrameType | None) -> None:
    """The program's own."""


def test_the_default_is_seen_where_ours_stands_in_for_it(said: list[str]) -> None:
    assert signal.getsignal(TERM) is signal.SIG_DFL
    assert signals._get(TERM) is signals._guard
    assert signal.signal(TERM, handler) is signal.SIG_DFL
    assert signal.getsignal(TERM) is signals._get(TERM) is handler
    assert signal.signal(TERM, signal.SIG_DFL) is handler
    assert signals._get(TERM) is signals._guard


@pytest.mark.parametrize("theirs", [handler, signal.SIG_IGN])
def test_what_the_program_set_before_is_not_touched(theirs: object) -> None:
    before = signal.signal(TERM, theirs)  # type: ignore[arg-type]  # both kinds are handlers
    try:
        signals.stand_in(lambda: None)
        assert signals._get(TERM) is theirs
    finally:
        signals.stand_down()
        signal.signal(TERM, before)


def test_pythons_own_interrupt_and_other_signals_are_left_alone(said: list[str]) -> None:
    assert signals._get(signal.SIGINT) is signal.default_int_handler
    assert signals._get(signal.SIGUSR1) is signal.SIG_DFL
    with pytest.raises(TypeError):
        signal.signal(TERM, "no handler")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="out of range"):
        signal.getsignal(0)


def test_standing_down_leaves_nothing_behind(said: list[str]) -> None:
    signals.stand_down()
    assert signals._get(TERM) is signal.SIG_DFL
    assert (signal.signal, signal.getsignal) == (signals._set, signals._get)


def test_another_thread_can_change_no_handler_and_does_not_try(said: list[str]) -> None:
    signals.stand_down()
    errors: list[BaseException] = []

    def stand() -> None:
        try:
            signals.stand_in(lambda: None)
            signals.stand_down()
        except BaseException as error:  # noqa: BLE001  # shown to the test
            errors.append(error)

    thread = threading.Thread(target=stand)
    thread.start()
    thread.join()
    assert errors == []
