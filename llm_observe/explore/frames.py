"""Rows to data frames: names that are checked, types that are fixed, nothing lost in silence."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from llm_observe.spanstore.columns import PAYLOAD, SPAN_COLUMNS
from llm_observe.spanstore.model import SpanFilter, UnknownColumn
from llm_observe.spanstore.scores import ScoreFilter, ScoreLine

DEFAULT = (
    "start", "service", "name", "kind", "model", "duration_ms", "ttft_ms", "queue_ms",
    "tokens_per_s", "tokens_in", "tokens_out", "tokens_total", "cost", "error", "error_type",
    "finish_reason", "session", "user", "capture_level", "config_hash", "trace_id", "span_id",
    "parent_id",
)  # fmt: skip
"""Columns of a frame when nobody asks for others; none of them needs the payload.

After them stands one column for each name of a score that a span of the frame has got.
"""

SCORES, SCORE = "scores", "score."
"""``scores`` stands for one column per name of a score, ``score.<name>`` for one of them."""

CONTENT = ("input", "output", "parameters")
"""What ``payload=True`` adds."""

FILTERS = tuple(field.name for field in fields(SpanFilter))
SCORE_FILTERS = tuple(field.name for field in fields(ScoreFilter))
SCORE_COLUMNS = tuple(field.name for field in fields(ScoreLine))

_SOURCES = {"start": "start_ns"}
_TIMES = frozenset({"since", "until"})
_KINDS: dict[str, Any] = {
    **dict.fromkeys(
        ("finds_total", "tokens_in", "tokens_out", "tokens_total", "start_ns", "end_ns"), "Int64"
    ),
    **dict.fromkeys(("duration_ms", "ttft_ms", "queue_ms", "tokens_per_s", "cost"), "float64"),
    "error": "bool",
}


class Truncated(UserWarning):
    """There is more than was loaded; the message says how much."""


def check_columns(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        UnknownColumn: One is no column; with the nearest that are.
    """
    known = (*SPAN_COLUMNS, *PAYLOAD)
    return tuple(
        dict.fromkeys(name if _is_score(name) else _known(name, known, "column") for name in names)
    )


def check_filters(filters: Mapping[str, Any], known: Sequence[str] = FILTERS) -> dict[str, Any]:
    """The filters that ask something.

    Raises:
        UnknownColumn: One is no filter; with the nearest that are. It would match nothing, and
            nobody would know why.
    """
    for name in filters:
        _known(name, known, "filter")
    return {name: _plain(name, value) for name, value in filters.items() if value is not None}


def _known(name: str, names: Sequence[str], what: str) -> str:
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise UnknownColumn(f"there is no {what} {name!r}; {hint}")


def _plain(name: str, value: Any) -> Any:
    """Times may be given as anything pandas reads (as UTC where no zone is said)."""
    if name not in _TIMES or isinstance(value, int | float):
        return value
    moment = pd.Timestamp(value)
    return (moment.tz_localize("UTC") if moment.tzinfo is None else moment).timestamp()


def source_columns(names: Sequence[str]) -> list[str]:
    """What is asked of the source for these columns: times as whole nanoseconds."""
    return [SCORES if _is_score(name) else _SOURCES.get(name, name) for name in names]


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows with `source_columns` as a frame with these columns, typed, oldest first."""
    kept = list(rows)[::-1]
    columns = _with_scores(kept, columns)
    asked = source_columns(columns)
    data = pd.DataFrame.from_records(kept, columns=list(dict.fromkeys(asked)))
    typed = {name: _typed(name, data[source]) for name, source in zip(columns, asked, strict=True)}
    return pd.DataFrame(typed, columns=list(columns))


def score_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Scores as a frame, oldest first."""
    found = pd.DataFrame.from_records(list(rows)[::-1], columns=list(SCORE_COLUMNS))
    found["time"] = pd.to_datetime(found["time"].astype("float64"), unit="s", utc=True)
    found["value"] = found["value"].astype("float64")
    texts = [name for name in SCORE_COLUMNS if name not in ("time", "value")]
    return found.astype(dict.fromkeys(texts, "str"))


def _is_score(name: str) -> bool:
    return name == SCORES or (name.startswith(SCORE) and name != SCORE)


def _with_scores(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """The columns with one for each name of a score that is there in place of ``scores``."""
    if SCORES not in columns:
        return list(columns)
    names = sorted({f"{SCORE}{name}" for row in rows for name in row[SCORES]})
    at = list(columns).index(SCORES)
    return list(dict.fromkeys([*columns[:at], *names, *columns[at + 1 :]]))


def _typed(name: str, values: pd.Series[Any]) -> pd.Series[Any]:
    if name == "start":
        return pd.to_datetime(values.astype("int64"), unit="ns", utc=True)
    if name.startswith(SCORE):
        return _numbers_or_words([said.get(name.removeprefix(SCORE)) for said in values])
    if name in _KINDS:
        return values.astype(_KINDS[name])
    return values.astype(object) if name in PAYLOAD else values.astype("str")


def _numbers_or_words(said: list[Any]) -> pd.Series[Any]:
    words = any(isinstance(value, str) for value in said)
    return pd.Series(said, dtype=object if words else "float64")


def say_if_cut(shown: int, total: int | None, what: str = "spans") -> None:
    """Warn if not all is there; ``total`` None means that more follow, nobody counted how many."""
    if total is None or total > shown:
        of = "more" if total is None else f"{total:,}"
        warnings.warn(
            f"{shown:,} of {of} {what} are loaded, the newest; give limit= for more, or filters for fewer",
            Truncated,
            stacklevel=4,
        )
