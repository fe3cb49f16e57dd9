"""Grants end: on time, by either clock, after a restart, and never begin twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from llm_observe.policy.capture import Clocks
from llm_observe.policy.grants import MOST_ENDED, Book, deadline, load, save
from llm_observe.settings.model import CaptureLevel, Grant, Matcher

DAY = 86_400.0
NOON = 1_800_000_000.0
START = Clocks(boot=500.0, wall=NOON)


def later(boot: float, wall: float | None = None) -> Clocks:
    return Clocks(START.boot + boot, START.wall + (boot if wall is None else wall))


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOON + seconds, UTC).isoformat()


def grant(until: float = 600, longest_s: float = 3600) -> Grant:
    return Grant(match=Matcher(user="ann"), until=at(until), longest_s=longest_s)


def book(**grants: Grant) -> Book:
    return Book().under(grants, START, DAY)


def reload(book: Book, saved_at: Clocks, now: Clocks, boot: str = "b1") -> Book:
    return load(json.loads(json.dumps(save(book, saved_at, "b1"))), now, boot)


@pytest.mark.parametrize(
    ("when", "runs"),
    [
        (later(599), True),
        (later(600), False),
        (later(599, wall=600), False),
        (later(600, wall=0), False),
        (later(10, wall=-DAY), True),
        (later(600, wall=-DAY), False),
    ],
)
def test_it_ends_by_whichever_clock_is_first(when: Clocks, runs: bool) -> None:
    assert ("g" in book(g=grant()).at(when).running) is runs


def test_the_longest_time_and_the_local_limit_bound_it() -> None:
    assert "g" not in book(g=grant(until=DAY, longest_s=60)).at(later(60)).running
    limited = Book().under({"g": grant(until=DAY)}, START, 30)
    assert limited.next_end(START) == 30
    assert "g" not in limited.at(later(30)).running


def test_an_id_that_has_ended_never_starts_again() -> None:
    over = book(g=grant()).at(later(600))
    again = over.under({"g": grant(until=DAY), "h": grant(until=DAY)}, later(601), DAY)
    assert set(again.running) == {"h"}
    assert again.ended == ("g",)


def test_a_document_without_it_ends_it_at_once_and_for_good() -> None:
    gone = book(g=grant()).under({}, later(1), DAY)
    assert (gone.running, gone.ended) == ({}, ("g",))
    assert not gone.under({"g": grant()}, later(2), DAY).running


def test_a_newer_document_shortens_it_and_lengthens_it_only_within_its_longest_time() -> None:
    first = book(g=grant(until=600, longest_s=1000))
    assert (
        first.under({"g": grant(until=100, longest_s=1000)}, later(50), DAY).next_end(later(50))
        == 50
    )
    longer = first.under({"g": grant(until=DAY, longest_s=1000)}, later(50), DAY)
    assert longer.next_end(later(50)) == 950


def test_a_newer_document_does_not_revive_one_that_is_over_though_nobody_has_looked() -> None:
    """The process was stopped, and what wakes it is the document."""
    longer = {"g": grant(until=3600)}
    assert "g" not in book(g=grant(until=600)).under(longer, later(700), DAY).running


def test_one_that_begins_after_its_end_has_ended() -> None:
    assert book(g=grant(until=-1)).ended == ("g",)
    assert book(g=Grant()).ended == ("g",)


def test_after_a_restart_of_the_process_the_boot_clock_still_counts() -> None:
    first = book(g=grant())
    assert "g" in reload(first, later(10), later(599)).running
    assert "g" not in reload(first, later(10), later(600, wall=20)).running


def test_after_a_restart_of_the_machine_only_what_was_left_is_left() -> None:
    first = book(g=grant())
    revived = reload(first, later(100), Clocks(boot=5.0, wall=NOON + 200), boot="b2")
    assert revived.next_end(Clocks(5.0, NOON + 200)) == pytest.approx(400)
    assert "g" not in revived.at(Clocks(boot=405.0, wall=NOON + 201)).running


def test_a_wall_clock_behind_the_last_save_ends_all() -> None:
    assert reload(book(g=grant()), later(100), later(101, wall=99)).ended == ("g",)


def test_what_is_active_is_matched_and_ends_with_the_grant() -> None:
    grants = {"g": grant()}
    (active,) = book(**grants).active(grants)
    assert active == ("g", Matcher(user="ann"), CaptureLevel.FULL, later(600))
    (capped,) = book(**grants).active(grants, CaptureLevel.REDACTED)
    assert capped.level is CaptureLevel.REDACTED


def test_ids_that_nobody_knows_can_be_ended_too() -> None:
    gone = book(g=grant()).without(["g", "h"])
    assert (gone.running, gone.ended) == ({}, ("g", "h"))
    assert gone.without(["h"]).ended == ("g", "h")


def test_ended_ids_are_remembered_within_bounds() -> None:
    crowd = {f"g{n}": grant() for n in range(MOST_ENDED + 5)}
    over = book(**crowd).at(later(600))
    assert len(over.ended) == MOST_ENDED


@pytest.mark.parametrize("broken", [{}, {"ended": []}, {"ended": [], "running": {"g": {}}}])
def test_what_is_no_book_is_an_error(broken: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        load(broken, START, "b1")


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001  # made aware below
def test_a_deadline_is_read_in_its_time_zone(when: datetime) -> None:
    aware = when.replace(tzinfo=UTC)
    assert deadline(aware.isoformat()) == aware.timestamp()


class Life(RuleBasedStateMachine):
    """Clocks step, the process restarts, documents come and go: no grant outlives its time."""

    @initialize()
    def begin(self) -> None:
        self.now, self.boot = START, 1
        self.book, self.document = Book(), dict[str, Grant]()
        self.spent: dict[str, float] = {}
        self.over: set[str] = set()

    @rule(name=st.sampled_from("ab"), until=st.floats(-10, 500), longest=st.floats(1, 300))
    def publish(self, name: str, until: float, longest: float) -> None:
        end = datetime.fromtimestamp(self.now.wall + until, UTC).isoformat()
        self.document = {name: Grant(until=end, longest_s=longest)}
        self.book = self.book.under(self.document, self.now, DAY)

    @rule(seconds=st.floats(0, 200), step=st.floats(-1000, 1000))
    def time_passes(self, seconds: float, step: float) -> None:
        for name in self.book.running:
            self.spent[name] = self.spent.get(name, 0.0) + seconds
        self.now = Clocks(self.now.boot + seconds, self.now.wall + seconds + step)
        self.book = self.book.at(self.now)

    @rule(machine=st.booleans(), asleep=st.floats(0, 400), step=st.floats(-1000, 1000))
    def restart(self, machine: bool, asleep: float, step: float) -> None:
        saved = json.loads(json.dumps(save(self.book, self.now, str(self.boot))))
        for name in self.book.running:
            self.spent[name] = self.spent.get(name, 0.0) + (asleep if step >= 0 else 0.0)
        boot = 1.0 if machine else self.now.boot + asleep
        self.now = Clocks(boot, self.now.wall + asleep + step)
        self.boot += machine
        self.book = load(saved, self.now, str(self.boot)).under(self.document, self.now, DAY)

    @invariant()
    def none_runs_longer_than_300_seconds_and_none_twice(self) -> None:
        self.over |= set(self.book.ended)
        assert not self.over & set(self.book.running)
        assert all(self.spent.get(name, 0.0) <= 300 for name in self.book.running)


TestLife = settings(max_examples=150, stateful_step_count=30, deadline=None)(Life).TestCase
