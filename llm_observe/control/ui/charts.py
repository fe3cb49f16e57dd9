"""Series of the span store as the data of charts, and the numbers above them. Pure but for asking.

Everything here comes from metrics, which count every call whatever is sampled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from llm_observe.control.service import Service
from llm_observe.control.ui import human
from llm_observe.spanstore.model import MetricName, Point, SeriesQuery

STEPS = (10, 30, 60, 300, 600, 1800, 3600, 6 * 3600, 86400)
"""Widths of a step in seconds; the store keeps 10 s finely and 600 s for long."""
POINTS = 120
"""About how many points a chart has."""
SHORTEST = 600.0
"""Seconds that a chart covers at least."""
By = Literal["model", "service", "token_type"] | None
_ASKED: tuple[tuple[MetricName, By], ...] = (
    ("calls", None), ("errors", None), ("tokens", "token_type"), ("duration", None), ("ttft", None),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Window:
    """What charts and numbers are about. Times are Unix seconds."""

    since: float
    until: float
    service: str = ""
    model: str = ""

    @property
    def step(self) -> int:
        """The narrowest step that keeps the number of points in bounds."""
        wide = (self.until - self.since) / POINTS
        return next((step for step in STEPS if step >= wide), STEPS[-1])

    def query(self, metric: MetricName, step: int | None = None, by: By = None) -> SeriesQuery:
        """The question for one metric, on whole steps."""
        step = step or self.step
        since, until = self.since // step * step, -(-self.until // step) * step
        return SeriesQuery(
            metric, since, until, step_s=step, by=by, service=self.service, model=self.model
        )

    def whole(self, metric: MetricName, by: By = None) -> SeriesQuery:
        """The question for one metric over the whole window as one step.

        Steps begin at whole multiples of their width, so the only width that has a step from
        ``since`` to beyond ``until`` is ``since`` itself.
        """
        fine = STEPS[0] if self.until - self.since <= 6 * 86400 else 600
        since = max(int(self.since) // fine * fine, fine)
        return SeriesQuery(
            metric, since, self.until, step_s=since, by=by, service=self.service, model=self.model
        )


@dataclass(frozen=True, slots=True)
class Numbers:
    """Totals over one window; percentiles in seconds, None where nothing was measured."""

    calls: int
    errors: int
    tokens_in: float
    tokens_out: float
    p50: float | None
    p95: float | None
    ttft_p50: float | None


async def fit(service: Service, window: Window) -> Window:
    """The window without the empty time before its first call."""
    for _ in range(2):  # the second look is finer than the first
        since = await _first_call(service, window)
        latest = window.until - SHORTEST
        window = replace(window, since=latest if since is None else min(since, latest))
    return window


async def _first_call(service: Service, window: Window) -> float | None:
    wide = window.until - window.since
    step = next((step for step in STEPS if wide / step <= 1000), STEPS[-1])
    series = await service.series(window.query("calls", step))
    busy = [point.time for line in series for point in line.points if point.count]
    return max(window.since, min(busy) - step) if busy else None


async def numbers(service: Service, window: Window) -> Numbers:
    """The totals of one window."""
    answers = await asyncio.gather(*(service.series(window.whole(*each)) for each in _ASKED))
    calls, errors, tokens, duration, ttft = ({s.label: s.points for s in a} for a in answers)
    return Numbers(
        _total(calls).count,
        _total(errors).count,
        _total(tokens, "input").sum,
        _total(tokens, "output").sum,
        _total(duration).p50,
        _total(duration).p95,
        _total(ttft).p50,
    )


async def charts(service: Service, window: Window) -> dict[str, Any]:
    """The data of the charts, ready for JSON; see ``charts.js``. Times are milliseconds."""
    asked = [window.query(metric, by=by) for metric, by in _ASKED]
    answers = await asyncio.gather(*(service.series(query) for query in asked))
    calls, errors, tokens, duration, ttft = ({s.label: s.points for s in a} for a in answers)
    span = {"since": window.since * 1000, "until": window.until * 1000}
    latency = [
        _line("p50", "p50", [(p.time, p.p50) for p in duration.get("", ())]),
        _line("p95", "p95", [(p.time, p.p95) for p in duration.get("", ())]),
        _line("ttft", "first token p50", [(p.time, p.p50) for p in ttft.get("", ())]),
    ]
    return {
        "latency": _chart("line", "seconds", "Latency over time", latency, span),
        "tokens": _chart("bar", "count", "Tokens over time", [
            _line(kind, kind, [(p.time, p.sum) for p in tokens.get(kind, ())])
            for kind in ("input", "output")
        ], span),
        "calls": _chart("bar", "count", "Calls and errors over time", [
            _line("calls", "calls", [(p.time, float(p.count)) for p in calls.get("", ())]),
            _line("errors", "errors", [(p.time, float(p.count)) for p in errors.get("", ())]),
        ], span),
    }  # fmt: skip


def _chart(
    kind: str, unit: str, title: str, series: list[dict[str, Any]], span: dict[str, float]
) -> dict[str, Any]:
    return {
        "kind": kind, "unit": unit, "stacked": "Tokens" in title, "summary": _summary(title, unit, series), "series": series, **span,
    }  # fmt: skip


def _summary(title: str, unit: str, series: list[dict[str, Any]]) -> str:
    """The chart in words, for screen readers."""
    say = human.span if unit == "seconds" else human.number
    parts = [
        f"{line['label']} up to {say(max(values))}"
        for line in series
        if (values := [value for _, value in line["points"] if value is not None])
    ]
    return f"{title}: {', '.join(parts) or 'nothing measured'}."


def _line(key: str, label: str, points: list[tuple[float, float | None]]) -> dict[str, Any]:
    return {"key": key, "label": label, "points": [[time * 1000, value] for time, value in points]}


def _total(lines: Mapping[str, Sequence[Point]], label: str = "") -> Point:
    """The one point of a question over the whole window."""
    points = lines.get(label) or (Point(0.0),)
    return points[0]
