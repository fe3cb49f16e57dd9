"""Plots of calls over time, with plotly: points, and per group the median and the 95th percentile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import plotly.graph_objects as go

MAX_POINTS = 5000
BINS = 40
COLOURS = ("#4299e1", "#f59f00", "#2fb344", "#ae3ec9", "#d63939", "#0ca678", "#667382", "#f76707")


def percentiles(calls: pd.DataFrame, column: str, by: str | None, title: str) -> go.Figure:
    """Every call as a point (a sample of them where there are many), p50 and p95 as lines.

    ``column`` is in milliseconds and drawn in seconds.
    """
    figure = go.Figure()
    known = calls.dropna(subset=[column])
    for (label, group), colour in zip(_groups(known, by), _colours(), strict=False):
        for trace in _traces(group, column, label, colour):
            figure.add_trace(trace)
    return _dressed(figure, title, "seconds", empty=known.empty)


def tokens(calls: pd.DataFrame, by: str | None, title: str) -> go.Figure:
    """Tokens in and out per step of time, as stacked bars."""
    figure = go.Figure()
    known = calls.dropna(subset=["tokens_total"])
    for (label, group), colour in zip(_groups(known, by), _colours(), strict=False):
        binned = group.set_index("start").resample(_step(known["start"]))
        for column, word, opacity in (("tokens_in", "in", 0.5), ("tokens_out", "out", 1.0)):
            sums = binned[column].sum().dropna().astype("float64")
            name = f"{label} {word}".strip()
            figure.add_trace(
                go.Bar(x=sums.index, y=sums, name=name, marker_color=colour, opacity=opacity)
            )
    figure.update_layout(barmode="stack")
    return _dressed(figure, title, "tokens", empty=known.empty)


def _groups(calls: pd.DataFrame, by: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    if by is None or calls.empty:
        yield "", calls
        return
    for label, group in calls.groupby(by, dropna=False, sort=True):
        yield str(label) or "(none)", group


def _traces(group: pd.DataFrame, column: str, label: str, colour: str) -> Iterator[Any]:
    points = group if len(group) <= MAX_POINTS else group.sample(MAX_POINTS, random_state=0)
    yield go.Scatter(
        x=points["start"], y=points[column] / 1000, mode="markers", name=label or "calls",
        marker={"color": colour, "size": 5, "opacity": 0.35}, legendgroup=label,
        customdata=points["trace_id"], hovertemplate="%{y:.2f} s<br>%{x}<br>trace %{customdata}",
    )  # fmt: skip
    binned = group.set_index("start")[column].resample(_step(group["start"]))
    for share, dash in ((0.5, "solid"), (0.95, "dot")):
        line = binned.quantile(share).dropna() / 1000
        yield go.Scatter(
            x=line.index, y=line, mode="lines", name=f"{label} p{share * 100:.0f}".strip(),
            line={"color": colour, "dash": dash}, legendgroup=label,
        )  # fmt: skip


def _step(start: pd.Series[Any]) -> pd.Timedelta:
    """A length of time that makes some forty steps; at least a second."""
    span = start.max() - start.min() if len(start) else pd.Timedelta(0)
    return max(pd.Timedelta(seconds=1), (span / BINS).ceil("s"))


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


def _dressed(figure: go.Figure, title: str, unit: str, *, empty: bool) -> go.Figure:
    figure.update_layout(
        title=title, yaxis_title=unit, yaxis_rangemode="tozero", template="plotly_white",
        margin={"l": 50, "r": 20, "t": 50, "b": 40}, legend={"orientation": "h"},
    )  # fmt: skip
    if empty:
        figure.add_annotation(text="no calls to draw", showarrow=False, xref="paper", yref="paper")
    return figure
