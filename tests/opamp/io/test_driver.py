"""The rhythm of a driver, with a transport that does what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from llm_observe.opamp.client import ClientProtocol
from llm_observe.opamp.events import Connected, Disconnected
from llm_observe.opamp.io.driver import Driver
from tests.link import AGENT, UID
from tests.opamp.io.agents import until
from tests.opamp.io.peers import DEADLINE_S, Recorder


class Lines:
    """A transport whose sessions are functions, the last one again and again."""

    framed = True

    def __init__(self, *sessions: Callable[[Driver], float | None]) -> None:
        self.sessions = list(sessions)
        self.opened = 0
        self.was_cut = threading.Event()

    def session(self, driver: Driver) -> float | None:
        play = self.sessions[min(self.opened, len(self.sessions) - 1)]
        self.opened += 1
        return play(driver)

    def cut(self) -> None:
        self.was_cut.set()

    def let_go(self) -> None:
        pass


def stands(driver: Driver) -> float | None:
    """A line that stands until it is given up."""
    if driver.open_line():
        driver.emit(driver.line_works())
        with driver.condition:
            driver.condition.wait_for(lambda: driver.leaving, DEADLINE_S)
        driver.line_down()
        driver.note_end("the end")
    return None


def busy(driver: Driver) -> float | None:
    driver.note_failure("busy")
    return 1000.0


def faulty(driver: Driver) -> float | None:
    raise RuntimeError("a fault of ours")


def driven(lines: Lines) -> tuple[Driver, Recorder]:
    seen = Recorder()
    return Driver(lines, ClientProtocol(UID, AGENT), lambda event: seen.take(b"", event)), seen


def test_a_fault_of_ours_ends_a_line_and_not_the_client(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines(faulty, stands)
    client, seen = driven(lines)
    with client:
        seen.wait_until(lambda: seen.of(Connected), "the next line")
    assert client.state.last_error == "an internal fault"
    assert "a line ended by a fault" in caplog.text


def test_going_over_to_another_line_does_not_wait_for_the_time_a_server_asked_for() -> None:
    first, second = Lines(busy), Lines(stands)
    client, seen = driven(first)
    with client:
        until(lambda: client.state.attempts, "a vain attempt")
        client.move(second)
        seen.wait_until(lambda: seen.of(Connected), "the other line")
    assert first.opened == 1


def test_the_newest_of_several_lines_asked_for_is_taken() -> None:
    first, second, third = Lines(stands), Lines(stands), Lines(stands)
    client, seen = driven(first)
    client.move(second)
    client.move(third)
    with client:
        seen.wait_until(lambda: seen.of(Connected), "a line")
        assert not client.moving
    assert (first.opened, second.opened, third.opened) == (0, 0, 1)
    assert seen.of(Disconnected) == [Disconnected("the end")]


def test_a_line_that_does_not_end_is_cut_when_the_time_for_stopping_is_over() -> None:
    def stuck(driver: Driver) -> float | None:
        lines.was_cut.wait(DEADLINE_S)
        return None

    lines = Lines(stuck)
    client, _ = driven(lines)
    client.start()
    until(lambda: lines.opened, "a line")
    client.stop(timeout_s=0.05)
    assert lines.was_cut.is_set()
