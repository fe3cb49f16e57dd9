"""Metric points into their time buckets. Every function runs inside a transaction."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Sequence

from llm_observe.spanstore.model import MetricRow
from llm_observe.spanstore.rollup import RESOLUTIONS, Histogram, Seen, add, advance

MAX_SERIES = 5000
_AHEAD_NS = 3600 * 10**9
_FIELDS = (
    "metric",
    "unit",
    "service",
    "model",
    "provider",
    "operation",
    "token_type",
    "error_type",
)
_SELECT_STREAM = (
    "SELECT start_ns, time_ns, count, sum, counts, recent FROM streams WHERE stream = ?"
)
_Key = tuple[str | bytes, ...]
_Slot = tuple[int, int, int]  # resolution, series, time


class MetricTables:
    """Writes metric points; one per connection, used by one thread.

    After a rollback call `forget`: the series made meanwhile are gone.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._series: dict[_Key, int] = {}
        self.forget()

    def forget(self) -> None:
        """Read the known series from the file again."""
        columns = ", ".join((*_FIELDS, "bounds", "id"))
        found = self._db.execute(f"SELECT {columns} FROM series")  # noqa: S608  # our own names
        self._series = {tuple(row[:-1]): row[-1] for row in found}

    def insert(self, rows: Sequence[MetricRow], now_ns: int) -> tuple[int, str]:
        """Add the points to their buckets; returns how many were refused, and why the first."""
        slots: dict[_Slot, Histogram] = {}
        refused, reason = 0, ""
        for row in rows:
            fault = self._place(row, now_ns, slots)
            if fault:
                refused, reason = refused + 1, reason or fault
        for slot, histogram in slots.items():
            self._merge(slot, histogram)
        return refused, reason

    def _place(self, row: MetricRow, now_ns: int, slots: dict[_Slot, Histogram]) -> str:
        if row.time_ns > now_ns + _AHEAD_NS:
            return f"{row.metric}: a point more than an hour ahead of the clock here"
        series = self._series_id(row)
        if series is None:
            return f"{row.metric}: more than {MAX_SERIES} series"
        fresh = self._advance(row)
        if fresh is not None:
            _spread(slots, series, row.time_ns // 10**9, fresh)
        return ""

    def _series_id(self, row: MetricRow) -> int | None:
        key: _Key = (*(getattr(row, name) for name in _FIELDS), pack_floats(row.bounds))
        if key not in self._series:
            if len(self._series) >= MAX_SERIES:
                return None
            marks = ", ".join("?" * len(key))
            made = self._db.execute(
                f"INSERT INTO series ({', '.join(_FIELDS)}, bounds) VALUES ({marks})",  # noqa: S608  # ours
                key,
            )
            self._series[key] = made.lastrowid or 0
        return self._series[key]

    def _advance(self, row: MetricRow) -> Histogram | None:
        found = self._db.execute(_SELECT_STREAM, (row.stream,)).fetchone()
        seen = _seen(*found) if found else None
        after, fresh = advance(seen, row)
        if after is not seen:
            self._db.execute(
                "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    row.stream,
                    after.start_ns,
                    after.time_ns,
                    after.count,
                    after.sum,
                    pack_ints(after.counts),
                    pack_ints(after.recent),
                ),
            )
        return fresh

    def _merge(self, slot: _Slot, histogram: Histogram) -> None:
        found = self._db.execute(
            "SELECT count, sum, counts FROM rollups"
            " WHERE resolution = ? AND series = ? AND time = ?",
            slot,
        ).fetchone()
        if found:
            there = Histogram(found[0], found[1], histogram.bounds, unpack_ints(found[2]))
            histogram = add(there, histogram)
        counts = pack_ints([int(number) for number in histogram.counts])
        self._db.execute(
            "INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?, ?, ?)",
            (*slot, histogram.count, histogram.sum, counts),
        )


def expire_points(db: sqlite3.Connection, resolution: int, before_s: int) -> None:
    """Drop the buckets of one resolution before a time, and the series that have none left."""
    for (series,) in db.execute("SELECT id FROM series").fetchall():
        db.execute(
            "DELETE FROM rollups WHERE resolution = ? AND series = ? AND time < ?",
            (resolution, series, before_s),
        )
    db.execute(
        "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM rollups WHERE"
        " rollups.series = series.id AND resolution IN (SELECT value FROM json_each(?)))",
        (json.dumps(RESOLUTIONS),),
    )


def expire_streams(db: sqlite3.Connection, before_ns: int) -> None:
    """Forget streams that have been silent since."""
    db.execute("DELETE FROM streams WHERE time_ns < ?", (before_ns,))


def pack_ints(values: Sequence[int]) -> bytes:
    """Whole numbers as little-endian 64-bit words."""
    return struct.pack(f"<{len(values)}q", *values)


def unpack_ints(data: bytes) -> tuple[int, ...]:
    """The reverse of `pack_ints`."""
    return struct.unpack(f"<{len(data) // 8}q", data)


def pack_floats(values: Sequence[float]) -> bytes:
    """Numbers as little-endian doubles."""
    return struct.pack(f"<{len(values)}d", *values)


def unpack_floats(data: bytes) -> tuple[float, ...]:
    """The reverse of `pack_floats`."""
    return struct.unpack(f"<{len(data) // 8}d", data)


def _seen(
    start_ns: int, time_ns: int, count: int, total: float, counts: bytes, recent: bytes
) -> Seen:
    return Seen(start_ns, time_ns, count, total, unpack_ints(counts), unpack_ints(recent))


def _spread(slots: dict[_Slot, Histogram], series: int, second: int, fresh: Histogram) -> None:
    for resolution in RESOLUTIONS:
        slot = (resolution, series, second // resolution * resolution)
        slots[slot] = add(slots[slot], fresh) if slot in slots else fresh
