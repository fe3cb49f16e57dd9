"""Retention: what is too old or too much goes, a little at a time, on the writer's thread."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable

from llm_observe.spanstore.charting import expire_points, expire_streams
from llm_observe.spanstore.model import Retention
from llm_observe.spanstore.rollup import RESOLUTIONS
from llm_observe.spanstore.writing import drop_traces, stale_traces

_TRACES_AT_ONCE = 100
_PAGES_AT_ONCE = 500
_IDLE_NS = 30 * 10**9
_POINTS_NS = 600 * 10**9
_STREAM_NS = 86400 * 10**9
_FOR_EVER = 2**62


class Keeper:
    """Applies a retention. Call `step` when `patience_s` is over; used by one thread.

    ``clock_ns`` gives unix nanoseconds; ``on_series_gone`` is called after series were dropped.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        retention: Retention,
        clock_ns: Callable[[], int],
        on_series_gone: Callable[[], None],
    ) -> None:
        self._db, self._retention = db, retention
        self._clock_ns, self._on_series_gone = clock_ns, on_series_gone
        self._next_ns = 0
        self._points_next_ns = 0
        self._log_to_empty = False

    def patience_s(self) -> float:
        """Seconds until the next step; 0 means now."""
        return min(max(0, self._next_ns - self._clock_ns()), _IDLE_NS) / 1e9

    def step(self) -> int:
        """One small step; returns how many traces went. More to do: the next step is due at once."""
        now_ns = self._clock_ns()
        self._next_ns = (
            now_ns + _IDLE_NS
        )  # also where this step fails: no tight loop over a full disk
        dropped = self._drop_some()
        if now_ns >= self._points_next_ns:
            self._points_next_ns = now_ns + _POINTS_NS
            self._expire_points(now_ns)
        shrunk = self._shrink()
        if self._log_to_empty:
            self.empty_log()
        if dropped or shrunk:
            self._next_ns = 0
        return dropped

    def run_all(self) -> int:
        """Steps until nothing is left to do; returns how many traces went."""
        self._points_next_ns = 0
        total = self.step()
        while self._next_ns == 0:
            total += self.step()
        return total

    def transact(self, work: Callable[[], int]) -> int:
        """Run ``work`` in a transaction and count it as a commit.

        Raises:
            sqlite3.Error: Nothing was changed.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result = work()
            self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'commits'")
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return result

    def empty_log(self) -> None:
        """Move the write-ahead log into the file and cut it; while a reader holds it, later."""
        self._log_to_empty = True
        with contextlib.suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA busy_timeout = 200")
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            self._log_to_empty = bool(busy)
        self._db.execute("PRAGMA busy_timeout = 10000")

    def _drop_some(self) -> int:
        traces = stale_traces(self._db, self._cutoff_ns(), _TRACES_AT_ONCE)
        return self.transact(lambda: drop_traces(self._db, traces)) if traces else 0

    def _cutoff_ns(self) -> int:
        """Traces untouched since go: all of them, oldest first, while the file is too large."""
        if self._retention.max_bytes and self._live_bytes() > self._retention.max_bytes:
            return _FOR_EVER
        return self._before_ns(self._retention.max_age_s)

    def _before_ns(self, age_s: float) -> int:
        return self._clock_ns() - int(age_s * 1e9) if age_s else 0

    def _live_bytes(self) -> int:
        return (self._pragma("page_count") - self._free_pages()) * self._pragma("page_size")

    def _free_pages(self) -> int:
        return self._pragma("freelist_count")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def _expire_points(self, now_ns: int) -> None:
        ages = (self._retention.fine_metrics_age_s, self._retention.metrics_age_s)
        self.transact(lambda: self._drop_points(ages, now_ns))
        self._on_series_gone()

    def _drop_points(self, ages: tuple[float, float], now_ns: int) -> int:
        for resolution, age_s in zip(RESOLUTIONS, ages, strict=True):
            expire_points(self._db, resolution, self._before_ns(age_s) // 10**9)
        expire_streams(self._db, now_ns - _STREAM_NS)
        return 0

    def _shrink(self) -> bool:
        """Give some free pages back to the disk, where there are many."""
        if self._free_pages() <= _PAGES_AT_ONCE:
            return False
        self._db.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
        return True
