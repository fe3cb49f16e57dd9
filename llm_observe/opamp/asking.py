"""Something asked of an agent until it complies, but never as an endless echo."""

from __future__ import annotations

REPEAT_S = 5.0
"""The shortest time between two times of asking for the same."""

MAX_VAIN = 3
"""Full reports that lack what the agent's capabilities promise, before that is taken for all."""


class Asking:
    """Asks no more often than every `REPEAT_S`."""

    __slots__ = ("_asked_at", "_vain", "wanted")

    def __init__(self) -> None:
        self.wanted = False
        self._asked_at: float | None = None
        self._vain = 0

    def want(self, *, at_once: bool = False) -> None:
        """Ask from now on; ``at_once`` even if it was asked a moment ago."""
        self.wanted, self._vain = True, 0
        if at_once:
            self._asked_at = None

    def fulfilled(self) -> None:
        """The agent complied, or nothing is wanted any more."""
        self.wanted, self._asked_at = False, None

    def tried_in_vain(self) -> bool:
        """Count an attempt to comply that fell short; True for the last one worth asking for."""
        self._vain += self.wanted
        return self._vain >= MAX_VAIN

    def is_due(self, now: float) -> bool:
        """Whether to ask with the message that is being composed."""
        return self.wanted and (self._asked_at is None or now - self._asked_at >= REPEAT_S)

    def asked(self, now: float) -> None:
        """It was put into a message."""
        self._asked_at = now
