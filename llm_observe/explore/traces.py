"""Traces in a notebook: open a control plane or a file, get frames, pictures and plots."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
import plotly.graph_objects as go

from llm_observe.errors import NotFound
from llm_observe.explore import plots
from llm_observe.explore.frames import (
    CONTENT,
    DEFAULT,
    SCORE_FILTERS,
    SCORES,
    check_columns,
    check_filters,
    frame,
    say_if_cut,
    score_frame,
    source_columns,
)
from llm_observe.explore.sources import Source, open_source
from llm_observe.explore.views import Session, Trace

LIMIT = 10_000
COUNTED = 200_000
MAX_TURNS = 200


class Traces:
    """Everything that can be asked of one source of traces.

    Filters are those of the span store: ``service``, ``model``, ``session``, ``user``, ``kind``,
    ``name``, ``error``, ``since``, ``until``, ``min_duration_ms``, ``config_hash``, ``trace_id``.
    Times may be anything that pandas reads as a time. A misspelt name is refused.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Traces of {self._source.name}>"

    def close(self) -> None:
        """Give connections and files back."""
        self._source.close()

    def spans(
        self,
        columns: Sequence[str] | None = None,
        *,
        payload: bool = False,
        limit: int = LIMIT,
        **filters: Any,
    ) -> pd.DataFrame:
        """The newest spans as a frame, oldest first.

        Args:
            columns: Which columns; by default all that need no payload, and one ``score.<name>``
                for each score that a span has got (its mean, where several judged; the label,
                where it has no value).
            payload: Also ``input``, ``output`` and ``parameters``; slower.
            limit: At most so many. Where there are more, a `Truncated` warning says how many,
                and ``frame.attrs["total"]`` holds the number.
            **filters: See the class.

        Raises:
            UnknownColumn: A column or filter that does not exist, with what was probably meant.
        """
        wanted = check_columns((*DEFAULT, SCORES) if columns is None else columns)
        wanted = tuple(dict.fromkeys((*wanted, *(CONTENT if payload else ()))))
        asked = check_filters(filters)
        rows = list(self._source.spans(asked, source_columns(wanted), limit))
        found = frame(rows, wanted)
        found.attrs["total"] = self._total(asked, len(rows), limit)
        say_if_cut(len(rows), found.attrs["total"])
        return found

    def calls(
        self, columns: Sequence[str] | None = None, *, payload: bool = False, limit: int = LIMIT, **filters: Any
    ) -> pd.DataFrame:  # fmt: skip
        """The spans that are model calls; as `spans`."""
        return self.spans(columns, payload=payload, limit=limit, **{"kind": "llm", **filters})

    def trace(self, trace_id: str) -> Trace:
        """One trace with its payload.

        Raises:
            NotFound: There is none.
        """
        spans = self._source.trace(trace_id)
        if not spans:
            raise NotFound(f"{self._source.name} has no trace {trace_id}")
        return Trace(trace_id, spans)

    def session(self, session: str) -> Session:
        """One conversation, oldest turn first, at most the newest 200 turns.

        Raises:
            NotFound: There is none.
        """
        found = list(self._source.traces({"session": session}, MAX_TURNS))
        if not found:
            raise NotFound(f"{self._source.name} has no session {session}")
        return Session(session, [self.trace(item["trace_id"]) for item in reversed(found)])

    def scores(self, name: str = "", *, limit: int = LIMIT, **filters: Any) -> pd.DataFrame:
        """What was judged, oldest first, beside what it was about; by one judge the latest.

        Args:
            name: Only scores of this name.
            limit: At most so many, the newest.
            **filters: ``annotator``, ``label``, ``value_min``, ``value_max``, ``service``,
                ``model``, ``session``, ``user``, ``config_hash``, ``trace_id``, ``since`` and
                ``until`` (when it was judged).

        Raises:
            UnknownColumn: A filter that does not exist, with what was probably meant.
        """
        asked = check_filters(filters, SCORE_FILTERS) | ({"name": name} if name else {})
        found = score_frame(self._source.scores(asked, limit))
        if len(found) >= limit:
            say_if_cut(len(found), None, "scores")
        return found

    def series(
        self, metric: str, *, by: str | None = None, hours: float = 24.0, step_s: int = 60, service: str = ""
    ) -> pd.DataFrame:  # fmt: skip
        """A metric over time, true whatever is sampled: duration, ttft, tokens, calls or errors.

        Args:
            metric: Which one. ``duration`` and ``ttft`` are in seconds.
            by: ``model`` or ``service``, for one line each.
            hours: How far back.
            step_s: Seconds per row.
            service: Only this one.
        """
        until = time.time()
        query = {
            "metric": metric, "since": until - hours * 3600, "until": until, "step_s": step_s,
            "by": by, "service": service,
        }  # fmt: skip
        lines = self._source.series({k: v for k, v in query.items() if v not in (None, "")})
        rows = [{"label": line["label"], **point} for line in lines for point in line["points"]]
        found = pd.DataFrame(rows, columns=["time", "label", "count", "sum", "p50", "p95", "p99"])
        found["time"] = pd.to_datetime(found["time"].astype("float64"), unit="s", utc=True)
        return found

    def compare(self, by: str = "config_hash", *, score: str = "", **filters: Any) -> pd.DataFrame:
        """One row per group of calls, the oldest group first: how many, how fast, how often failed.

        With ``by="config_hash"`` this is before and after each change of the settings. With the
        name of a ``score`` also how good: its mean over the group's traces, and over how many.
        """
        wanted = (by, "start", "duration_ms", "ttft_ms", "tokens_per_s", "tokens_total", "error")
        calls = self.calls((*wanted, "trace_id"), **filters)
        found = self._figures(calls.groupby(by, dropna=False))
        return found.join(self._judged(calls, by, score)) if score else found

    def _judged(self, calls: pd.DataFrame, by: str, score: str) -> pd.DataFrame:
        """Mean and number of the judged traces per group; a trace counts once in each."""
        values = self.scores(score).groupby("trace_id")["value"].mean()
        traces = calls[["trace_id", *({by} - {"trace_id"})]].drop_duplicates()
        judged = traces.assign(value=traces["trace_id"].map(values))
        groups = judged.groupby(by, dropna=False)["value"]
        return groups.agg(["mean", "count"]).set_axis([f"score.{score}", "judged"], axis=1)

    @staticmethod
    def _figures(groups: Any) -> pd.DataFrame:
        found: pd.DataFrame = groups.agg(
            first=("start", "min"),
            last=("start", "max"),
            calls=("duration_ms", "size"),
            p50_ms=("duration_ms", "median"),
            p95_ms=("duration_ms", lambda values: values.quantile(0.95)),
            ttft_p50_ms=("ttft_ms", "median"),
            tokens_per_s=("tokens_per_s", "median"),
            tokens=("tokens_total", "sum"),
            errors=("error", "sum"),
        )
        return found.sort_values("first")

    def plot_latency(self, by: str | None = "model", **filters: Any) -> go.Figure:
        """How long calls took over time, one colour per ``by`` (any column)."""
        return plots.percentiles(self._for_plot(by, filters), "duration_ms", by, "Latency of calls")

    def plot_ttft(self, by: str | None = "model", **filters: Any) -> go.Figure:
        """Time to first token over time, one colour per ``by`` (any column)."""
        return plots.percentiles(self._for_plot(by, filters), "ttft_ms", by, "Time to first token")

    def plot_tokens(self, by: str | None = "model", **filters: Any) -> go.Figure:
        """Tokens in and out over time, one colour per ``by`` (any column)."""
        return plots.tokens(self._for_plot(by, filters), by, "Tokens")

    def _for_plot(self, by: str | None, filters: dict[str, Any]) -> pd.DataFrame:
        columns = (
            "start", "trace_id", "duration_ms", "ttft_ms", "tokens_in", "tokens_out", "tokens_total",
        )  # fmt: skip
        return self.calls((*columns, *((by,) if by else ())), **filters)

    def _total(self, asked: dict[str, Any], shown: int, limit: int) -> int | None:
        """How many there are; None where counting them would take too long."""
        if shown < limit:
            return shown
        counted = sum(1 for _ in self._source.spans(asked, ("span_id",), COUNTED))
        return counted if counted < COUNTED else None


def open(place: str | Path | None = None, *, token: str | None = None) -> Traces:
    """Open a control plane by its address, or a file by its path.

    Args:
        place: ``http://…`` of a control plane; a ``spans.db`` or the folder it is in, also while
            a control plane writes it; or a file with one OTLP/JSON request per line. By default
            the control plane at ``LLM_OBSERVE_SERVER``, else at http://127.0.0.1:4320.
        token: Admin token of the control plane; by default ``LLM_OBSERVE_ADMIN_TOKEN``.

    Raises:
        StoreError: There is no such file, or it cannot be read.
        ControlError: No control plane answers there, or it refuses the token.
    """
    return Traces(open_source(None if place is None else str(place), token))
