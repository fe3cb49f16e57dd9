"""So many a second: a token bucket. Pure; time is passed in."""

from __future__ import annotations

import threading

_PATIENCE_S = 0.005
"""Nobody holds the lock for longer than a few microseconds, unless a signal's handler came between."""


_ROUNDING = 1e-9


class Bucket:
    """Takes from a second's worth of tokens, at least one. Any thread; never blocks for long.

    Args:
        per_second: How fast it fills; it is full at first.
    """

    def __init__(self, per_second: float) -> None:
        self.per_second, self._most = per_second, max(1.0, per_second)
        self._tokens, self._filled = self._most, 0.0
        self._refused = float("-inf")
        self._lock = threading.Lock()

    def take(self, now: float) -> bool:
        """One token, if there is one at this moment (seconds of a clock that never steps back)."""
        if not self._lock.acquire(timeout=_PATIENCE_S):
            return False
        try:
            return self._take(now)
        finally:
            self._lock.release()

    def scarce(self, now: float) -> bool:
        """Whether somebody was refused within the last second."""
        return now - self._refused < 1.0

    def _take(self, now: float) -> bool:
        passed, self._filled = max(0.0, now - self._filled), max(now, self._filled)
        self._tokens = min(self._most, self._tokens + passed * self.per_second)
        if self._tokens < 1.0 - _ROUNDING:
            self._refused = now
            return False
        self._tokens -= 1.0
        return True
