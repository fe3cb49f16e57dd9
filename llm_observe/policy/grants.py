"""The life of timed grants: when one begins, and that it ends whatever happens.

A grant ends at the earliest of: its deadline on the boot clock (which also runs while the machine
sleeps or the process is stopped), its deadline on the wall clock, and what was left of it when the
book was last saved. A wall clock behind the last save ends every grant, for nobody knows how
often it was turned. A document without the grant ends it. An id that has ended never starts again.

Pure: times are passed in; the agent keeps the book on disk and saves it while a grant runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from llm_observe.policy.capture import ActiveGrant, Clocks, lowest
from llm_observe.settings.model import CaptureLevel, Grant

MOST_ENDED = 10_000
"""Ended ids that are remembered; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True)
class Running:
    """A grant under way: when it began and when it ends, by both clocks."""

    began: Clocks
    ends: Clocks

    def over(self, now: Clocks) -> bool:
        """Whether it has ended by either clock."""
        return now.reached(self.ends)


@dataclass(frozen=True, slots=True)
class Book:
    """Every grant that runs or has ended in this process's state folder."""

    running: Mapping[str, Running] = field(default_factory=dict)
    ended: tuple[str, ...] = ()

    def at(self, now: Clocks) -> Book:
        """The book now: what is over has ended."""
        return self._without(name for name, run in self.running.items() if run.over(now))

    def under(self, grants: Mapping[str, Grant], now: Clocks, longest_s: float) -> Book:
        """The book under a document: its new grants begin, those it lacks end.

        ``longest_s`` is the local limit for any grant. A grant that runs may be shortened by a
        newer document and lengthened only within the longest time it had from its beginning.
        """
        here = self.at(now)  # first: what is over stays over, though nobody has looked until now
        gone = here._without(name for name in here.running if name not in grants)
        running = {
            name: here._run(name, grant, now, longest_s)
            for name, grant in grants.items()
            if name not in gone.ended
        }
        return replace(gone, running=running).at(now)

    def next_end(self, now: Clocks) -> float | None:
        """Seconds until the next grant ends; None if none runs."""
        ends = [min(r.ends.boot - now.boot, r.ends.wall - now.wall) for r in self.running.values()]
        return max(0.0, min(ends)) if ends else None

    def without(self, names: Iterable[str]) -> Book:
        """The book with these ids ended, whether they ran or not."""
        gone = tuple(names)
        rest = self._without(name for name in gone if name in self.running)
        unknown = tuple(name for name in gone if name not in rest.ended)
        return replace(rest, ended=(*rest.ended, *unknown)[-MOST_ENDED:])

    def active(
        self, grants: Mapping[str, Grant], cap: CaptureLevel = CaptureLevel.FULL
    ) -> tuple[ActiveGrant, ...]:
        """The grants that run, none above ``cap``, for `llm_observe.policy.capture`."""
        return tuple(
            ActiveGrant(name, grants[name].match, lowest(grants[name].level, cap), run.ends)
            for name, run in self.running.items()
            if name in grants
        )

    def _run(self, name: str, grant: Grant, now: Clocks, longest_s: float) -> Running:
        began = self.running[name].began if name in self.running else now
        seconds = min(grant.longest_s, longest_s)
        ends = Clocks(began.boot + seconds, min(began.wall + seconds, deadline(grant.until)))
        return Running(began, Clocks(min(ends.boot, now.boot + ends.wall - now.wall), ends.wall))

    def _without(self, names: Iterable[str]) -> Book:
        gone = tuple(names)
        if not gone:
            return self
        running = {name: run for name, run in self.running.items() if name not in gone}
        return Book(running, (*self.ended, *gone)[-MOST_ENDED:])


def deadline(until: str) -> float:
    """A grant's end as Unix seconds; without one it has ended."""
    return datetime.fromisoformat(until).timestamp() if until else 0.0


def save(book: Book, now: Clocks, boot_id: str) -> dict[str, Any]:
    """The book as JSON; ``boot_id`` names the machine's present start."""
    running = {
        name: {
            "began": list(run.began),
            "ends": list(run.ends),
            "left_s": max(0.0, run.ends.boot - now.boot),
        }
        for name, run in book.running.items()
    }
    return {"boot": boot_id, "saved": now.wall, "running": running, "ended": list(book.ended)}


def load(saved: Mapping[str, Any], now: Clocks, boot_id: str) -> Book:
    """The saved book, now. Raises `KeyError`, `TypeError` or `ValueError` for what is no book."""
    ended = tuple(str(name) for name in saved["ended"])
    asleep = now.wall - float(saved["saved"])
    same = bool(boot_id) and saved["boot"] == boot_id
    book = Book(
        {str(name): _revived(run, now, asleep, same) for name, run in saved["running"].items()},
        ended,
    )
    if asleep < 0:
        return book._without(book.running)
    return book.at(now)


def _revived(run: Mapping[str, Any], now: Clocks, asleep: float, same_boot: bool) -> Running:
    """A running grant read from disk. After another start of the machine the boot clock is new."""
    began, ends = Clocks(*map(float, run["began"])), Clocks(*map(float, run["ends"]))
    if same_boot:
        return Running(began, ends)
    left = float(run["left_s"]) - asleep
    boot = now.boot + left
    return Running(Clocks(boot - (ends.wall - began.wall), began.wall), Clocks(boot, ends.wall))
