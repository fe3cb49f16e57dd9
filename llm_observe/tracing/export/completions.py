"""Numbers that only the server knows: fetched after a call, beside the queue, bounded in time.

A call that waits for its completion holds up no other call. What takes longer than the bound
is exported without its late numbers.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from llm_observe.tracing.call import Call
from llm_observe.tracing.export.bounds import Bounds
from llm_observe.tracing.export.quiet import quiet
from llm_observe.tracing.gate import gate

_MOST_THREADS = 4
_MOST_PENDING = 512
_IDLE_S = 10.0


class Ticket:
    """One call that waits for its completion, and the moment from which it waits no longer."""

    __slots__ = ("call", "deadline", "item")

    def __init__(self, item: Any, call: Call, deadline: float) -> None:
        self.item, self.call, self.deadline = item, call, deadline


class Completions:
    """A few daemon threads that run `Call.completion`. Used by one thread, the intake's.

    A finished ticket is given to ``hand_back`` on the thread that completed it.
    """

    def __init__(self, hand_back: Callable[[Ticket], None], bounds: Bounds) -> None:
        self._hand_back, self._bounds = hand_back, bounds
        self._tasks: SimpleQueue[Ticket] = SimpleQueue()
        self._pending: dict[Ticket, None] = {}
        self._latest = float("inf")
        self._threads = 0
        self._idle = 0
        self._counting = threading.Lock()

    @property
    def pending(self) -> frozenset[Ticket]:
        """The tickets that wait."""
        return frozenset(self._pending)

    def take(self, item: Any, call: Call) -> bool:
        """Complete this call; False if there is no room, and it should go on as it is."""
        if len(self._pending) >= _MOST_PENDING or not self._has_hands():
            return False
        ticket = Ticket(item, call, time.monotonic() + self._bounds.completion_s)
        self._pending[ticket] = None
        self._tasks.put(ticket)
        return True

    def resolve(self, ticket: Ticket) -> bool:
        """A ticket came back; False if it had been given up before."""
        present = ticket in self._pending
        self._pending.pop(ticket, None)
        return present

    def due(self, now: float) -> list[Ticket]:
        """Tickets that have waited long enough; they are given up."""
        overdue: list[Ticket] = []
        for ticket in self._pending:  # in order of their deadlines
            if min(ticket.deadline, self._latest) > now:
                break
            overdue.append(ticket)
        for ticket in overdue:
            del self._pending[ticket]
        return overdue

    def next_deadline(self) -> float:
        """When the first ticket will have waited long enough; infinity with none."""
        if not self._pending:
            return float("inf")
        return min(next(iter(self._pending)).deadline, self._latest)

    def hasten(self, latest: float) -> None:
        """Wait for none beyond this (monotonic clock): the process ends."""
        self._latest = latest

    def _has_hands(self) -> bool:
        with self._counting:
            if self._idle > self._tasks.qsize() or self._threads >= _MOST_THREADS:
                return True
            self._threads += 1
        thread = threading.Thread(target=self._run, name="llm-observe-completion", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter is ending, or the system is out of threads
            gate.report(error)
            with self._counting:
                self._threads -= 1
                return self._threads > 0
        return True

    def _run(self) -> None:
        with quiet():
            while (ticket := self._next()) is not None:
                if time.monotonic() < ticket.deadline:
                    self._complete(ticket)
                self._hand_back(ticket)

    def _next(self) -> Ticket | None:
        """The next ticket; None after an idle while, and the thread ends."""
        with self._counting:
            self._idle += 1
        try:
            return self._tasks.get(timeout=_IDLE_S)
        except Empty:
            return self._leave()
        finally:
            with self._counting:
                self._idle -= 1

    def _leave(self) -> Ticket | None:
        with self._counting:
            if self._tasks.qsize():
                return self._tasks.get()
            self._threads -= 1
            return None

    def _complete(self, ticket: Ticket) -> None:
        """Whatever the server or the library does, the call goes on."""
        completion, ticket.call.completion = ticket.call.completion, None
        with contextlib.suppress(Exception):
            if completion is not None:
                completion()
