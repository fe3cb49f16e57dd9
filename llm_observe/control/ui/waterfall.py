"""A trace as a waterfall: spans in the order of the tree, each with its place in time. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llm_observe.spanstore.model import Span

NARROWEST = 0.4
"""Percent of the width that a bar has at least, so that a short span can be seen."""
DEEPEST = 12
"""Levels that are indented; deeper ones stand below their parent."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One row. ``left`` and ``width`` are percent of the trace; ``orphan``: its parent is missing."""

    span: Span
    depth: int
    left: float
    width: float
    children: int
    orphan: bool


def rows(spans: Sequence[Span]) -> list[Bar]:
    """The spans, each below its parent, siblings by start. A parent that never came is no loss.

    Spans that only carry scores are left out: they may come days later, and are shown at what
    they are about.
    """
    spans = steps(spans)
    known = {span.span_id for span in spans}
    children: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: (span.start_ns, span.end_ns, span.span_id)):
        children[span.parent_id if span.parent_id in known else ""].append(span)
    ordered = list(_walk(children))
    missed = known - {span.span_id for span, _ in ordered}
    rest = [(span, 0) for span in spans if span.span_id in missed]  # spans that are in a circle
    start, total = extent(spans)
    return [
        _bar(span, depth, start, total, len(children[span.span_id])) for span, depth in ordered + rest
    ]  # fmt: skip


def steps(spans: Sequence[Span]) -> Sequence[Span]:
    """The spans of a trace without those that only carry scores, unless there is nothing else."""
    return [span for span in spans if not span.feedback] or spans


def extent(spans: Sequence[Span]) -> tuple[float, float]:
    """The trace's first moment and length, as milliseconds of `Span.offset_ms`."""
    spans = steps(spans)
    if not spans:
        return 0.0, 0.0
    start = min(span.offset_ms for span in spans)
    return start, max(span.offset_ms + span.duration_ms for span in spans) - start


def ticks(total: float, count: int = 4) -> list[tuple[float, float]]:
    """``(percent, milliseconds)`` of the marks above the bars."""
    return [(100 * step / count, total * step / count) for step in range(count + 1)]


def _walk(children: dict[str, list[Span]]) -> Iterator[tuple[Span, int]]:
    """Depth first, without recursion: a trace may be as deep as it likes."""
    waiting = [(span, 0) for span in reversed(children.get("", []))]
    while waiting:
        span, depth = waiting.pop()
        yield span, depth
        waiting += [(child, depth + 1) for child in reversed(children.get(span.span_id, []))]


def _bar(span: Span, depth: int, start: float, total: float, children: int) -> Bar:
    scale = 100 / total if total > 0 else 0.0
    width = max(NARROWEST, span.duration_ms * scale if scale else 100.0)
    left = min((span.offset_ms - start) * scale, 100 - NARROWEST)
    orphan = bool(span.parent_id) and depth == 0
    return Bar(
        span, min(depth, DEEPEST), round(left, 3), round(min(width, 100 - left), 3), children, orphan
    )  # fmt: skip
