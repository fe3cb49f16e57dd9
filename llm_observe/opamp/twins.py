"""Tells an agent that restarted from a second one with a copied uid, by the numbers they send.

Over a WebSocket each has a line of its own; over plain HTTP two agents with one uid are one stream
of requests to the server. An agent counts its messages (OpAMP, "AgentToServer.sequence_num"). One
that restarts counts anew and never goes back; two that run at once *take turns*: a message that
does not follow the last one follows the last but one run. That must happen twice, each time with
a change of the connection, for it to be two: numbers may come out of order once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

REACH = 2
"""How far a number may be ahead and still follow: one message may have been lost."""

TURNS = 2


@dataclass(slots=True)
class _Run:
    """Numbers that follow one another."""

    number: int
    peer: object


@dataclass(slots=True)
class Turns:
    """The newest runs of numbers under one uid."""

    _current: _Run | None = None
    _former: _Run | None = None
    _taken: int = field(default=0)

    def follows(self, number: int) -> bool:
        """Whether a number goes on where the last message left off."""
        return _follows(self._current, number)

    def take(self, number: int, peer: object) -> bool:
        """Note a message that is no repeat; True as soon as two agents take turns.

        ``peer`` tells connections apart: messages over one connection come from one agent.
        """
        spoken = _Run(number, peer)
        if self._current is None or self.follows(number):
            self._current = spoken
        elif not _follows(self._former, number) or peer == self._current.peer:
            self._current, self._former, self._taken = spoken, self._current, 0
        elif self._taken + 1 < TURNS:
            self._current, self._former, self._taken = spoken, self._current, self._taken + 1
        else:  # this one gets another uid; the other one goes on under this one
            self._former = spoken
            return True
        return False


def _follows(run: _Run | None, number: int) -> bool:
    return run is not None and 0 < number - run.number <= REACH
