"""When to try again: doubling waits with jitter, and what the destination asked for."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """The waits of one signal of one destination. Pure: time and chance are passed in."""

    def __init__(
        self, first_s: float, most_s: float, asked_most_s: float, chance: Callable[[], float]
    ) -> None:
        self._first_s, self._most_s, self._asked_most_s = first_s, most_s, asked_most_s
        self._chance = chance
        self.failures = 0
        self.retry_at = 0.0
        self.asked = False

    def failed(self, now: float, retry_after_s: float | None = None) -> None:
        """One more failure: the next try is due at `retry_at`.

        A wait that the destination asked for is never shortened by jitter, and never longer
        than the bound (OTLP/HTTP, "OTLP/HTTP Throttling").
        """
        self.failures += 1
        self.asked = retry_after_s is not None
        if retry_after_s is not None:
            wait = min(max(retry_after_s, 0.0), self._asked_most_s)
        else:
            doubled = self._first_s * 2.0 ** min(self.failures - 1, 30)
            wait = min(doubled, self._most_s) * (0.5 + 0.5 * self._chance())
        self.retry_at = now + wait

    def hurry(self) -> None:
        """Try again at once, unless the destination asked for a pause."""
        if not self.asked:
            self.retry_at = 0.0

    def reset(self) -> None:
        """All is well, or the destination is another one: forget the failures."""
        self.failures, self.retry_at, self.asked = 0, 0.0, False
