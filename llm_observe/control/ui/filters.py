"""The filters of the traces list: query string to `TraceFilter` and back. Pure."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from llm_observe.errors import Problem, SettingsError
from llm_observe.spanstore.model import TraceFilter

RANGES = {"15m": 900.0, "1h": 3600.0, "6h": 21600.0, "24h": 86400.0, "7d": 604800.0, "30d": 2592000.0}  # fmt: skip
RANGE_NAMES = {
    "15m": "Last 15 minutes", "1h": "Last hour", "6h": "Last 6 hours", "24h": "Last 24 hours",
    "7d": "Last 7 days", "30d": "Last 30 days", "all": "Any time",
}  # fmt: skip
DEFAULT_RANGE = "24h"
TEXTS = (
    "service", "model", "session", "user", "text", "config_hash", "score", "score_label",
)  # fmt: skip
"""Filters whose query parameter is their field's name."""
MAX_TEXT = 500
SCORES = ("score_min", "score_max")
"""Filters that bound the value of a score."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The filters as the user chose them; ``since`` and ``until`` are None unless typed in."""

    texts: Mapping[str, str]
    error: bool | None
    min_duration_ms: float | None
    range: str
    since: float | None
    until: float | None
    scores: Mapping[str, float] = field(default_factory=dict)

    def where(self, now: float) -> TraceFilter:
        """The question to the store, as of ``now``."""
        since = self.since
        if since is None and self.until is None and self.range in RANGES:
            since = now - RANGES[self.range]
        return TraceFilter(
            **self.texts,
            error=self.error,
            min_duration_ms=self.min_duration_ms,
            since=since,
            until=self.until,
            score_min=self.scores.get("score_min"),
            score_max=self.scores.get("score_max"),
        )

    def query(self, **changes: str | None) -> str:
        """The query string of these filters with some changed; None or empty removes one."""
        chosen = {**self.parameters(), **changes}
        return urlencode({name: value for name, value in chosen.items() if value})

    def parameters(self) -> dict[str, str]:
        """What is not as it is by default, by name of query parameter."""
        chosen = {name: value for name, value in self.texts.items() if value}
        if self.error is not None:
            chosen["error"] = "yes" if self.error else "no"
        if self.min_duration_ms is not None:
            chosen["min_duration_ms"] = f"{self.min_duration_ms:g}"
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None:
                chosen[name] = _iso(moment)
        chosen |= {name: f"{value:g}" for name, value in self.scores.items()}
        if self.range != DEFAULT_RANGE:
            chosen["range"] = self.range
        return chosen

    @property
    def by_score(self) -> bool:
        """Whether only traces with a score are asked for."""
        return bool(self.texts["score"] or self.texts["score_label"] or self.scores)

    @property
    def narrowed(self) -> bool:
        """Whether anything but the time range narrows the list."""
        return bool(self.parameters().keys() - {"range"})


def read(query: Mapping[str, str]) -> Chosen:
    """The filters in a query string.

    Raises:
        SettingsError: A number, moment or choice that cannot be read.
    """
    chosen = query.get("range") or DEFAULT_RANGE
    if chosen not in RANGE_NAMES:
        raise _wrong("range", chosen, f"one of {', '.join(RANGE_NAMES)}")
    return Chosen(
        {name: query.get(name, "").strip()[:MAX_TEXT] for name in TEXTS},
        _choice(query.get("error", "")),
        _milliseconds(query.get("min_duration_ms", "")),
        chosen,
        _moment("since", query.get("since", "")),
        _moment("until", query.get("until", "")),
        {
            name: bound
            for name in SCORES
            if (bound := _bound(name, query.get(name, ""))) is not None
        },
    )


def _choice(text: str) -> bool | None:
    choices = {"": None, "yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}  # fmt: skip
    if text not in choices:
        raise _wrong("error", text, "yes or no")
    return choices[text]


def _milliseconds(text: str) -> float | None:
    try:
        value = float(text) if text.strip() else None
    except ValueError:
        raise _wrong("min_duration_ms", text, "a number of milliseconds") from None
    if value is not None and not 0 <= value < 1e12:
        raise _wrong("min_duration_ms", text, "a number of milliseconds from 0")
    return value


def _bound(name: str, text: str) -> float | None:
    try:
        value = float(text) if text.strip() else None
    except ValueError:
        raise _wrong(name, text, "a number") from None
    if value is not None and not math.isfinite(value):
        raise _wrong(name, text, "a number")
    return value


def _moment(name: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
        aware = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        return aware.timestamp()
    except (ValueError, OverflowError):
        raise _wrong(name, text, "a date and time such as 2026-11-24T08:00Z") from None


def _iso(moment: float) -> str:
    when = datetime.datetime.fromtimestamp(moment, datetime.UTC)
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")


def _wrong(name: str, found: str, expected: str) -> SettingsError:
    return SettingsError([Problem(name, repr(found[:80]), expected)])
