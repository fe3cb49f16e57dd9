"""A trace as one line, from its spans. Pure, and the same in whatever order spans arrive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from llm_observe.spanstore.schema import MODEL, SERVICE

_CALLS = frozenset({"llm", "embedding"})


class Part(NamedTuple):
    """The columns of one span that a summary is made of, in the order of the query."""

    id: int
    span_id: bytes
    parent_id: bytes
    name: str
    kind: str
    service: str
    start_ns: int
    end_ns: int
    received_ns: int
    error: int
    error_type: str
    model: str
    session: str
    user: str
    tokens_in: int | None
    tokens_out: int | None
    tokens_total: int | None
    ttft_ms: float | None
    queue_ms: float | None
    tokens_per_s: float | None
    cost: float | None
    finish_reason: str
    capture_level: str
    config_hash: str
    feedback: int = 0


class Line(NamedTuple):
    """The columns of one trace, without its previews, in the order of the table."""

    start_ns: int
    duration_ns: int
    received_ns: int
    name: str
    service: str
    model: str
    models: int
    session: str
    user: str
    tokens_in: int | None
    tokens_out: int | None
    tokens_total: int | None
    cost: float | None
    ttft_ms: float | None
    queue_ms: float | None
    tokens_per_s: float | None
    finish_reason: str
    error: int
    error_type: str
    spans: int
    calls: int
    capture_level: str
    config_hash: str
    feedback: int


def summarise(parts: Iterable[Part]) -> tuple[Line, Part, set[tuple[int, str]]]:
    """The line, the span that speaks for the trace (its first call), and the facets.

    Spans that only carry scores about others are not of the trace, unless nothing else is there.
    ``parts`` must not be empty.
    """
    everything = sorted(parts, key=lambda part: (part.start_ns, part.span_id))
    spans = [part for part in everything if not part.feedback] or everything
    calls = _innermost([part for part in spans if part.kind in _CALLS])
    root = next((part for part in spans if not part.parent_id), None)
    first = next((part for part in calls if part.kind == "llm"), (calls or [root or spans[0]])[0])
    models = {part.model for part in everything if part.model}
    line = _line(spans, calls, root, first, len(models))
    line = line._replace(received_ns=max(part.received_ns for part in everything))
    facets = {(MODEL, model) for model in models}
    return line, first, facets | {(SERVICE, part.service) for part in everything}


def _line(
    spans: list[Part], calls: list[Part], root: Part | None, first: Part, models: int
) -> Line:
    head = root or spans[0]
    failed = min((p for p in spans if p.error), key=lambda p: (p.end_ns, p.span_id), default=None)
    return Line(
        start_ns=spans[0].start_ns,
        duration_ns=_duration(spans, root),
        received_ns=max(part.received_ns for part in spans),
        name=head.name,
        service=head.service,
        model=first.model,
        models=models,
        session=_said(head.session, (part.session for part in spans)),
        user=_said(head.user, (part.user for part in spans)),
        tokens_in=_total(part.tokens_in for part in calls),
        tokens_out=_total(part.tokens_out for part in calls),
        tokens_total=_total(part.tokens_total for part in calls),
        cost=_cost(part.cost for part in calls),
        ttft_ms=first.ttft_ms,
        queue_ms=first.queue_ms,
        tokens_per_s=first.tokens_per_s,
        finish_reason=first.finish_reason,
        error=int(failed is not None),
        error_type=failed.error_type if failed else "",
        spans=len(spans),
        calls=len(calls),
        capture_level=_said(first.capture_level, (part.capture_level for part in spans)),
        config_hash=_said(first.config_hash, (part.config_hash for part in spans)),
        feedback=int(all(part.feedback for part in spans)),
    )


def _innermost(calls: list[Part]) -> list[Part]:
    """Without the calls around other calls: a framework's span around the client's own.

    The outer one stays where it alone counted its tokens.
    """
    around = {part.parent_id for part in calls}
    counted = {part.parent_id for part in calls if part.tokens_total is not None}
    return [p for p in calls if p.span_id not in (around if p.tokens_total is None else counted)]


def _duration(spans: list[Part], root: Part | None) -> int:
    if root is not None:
        return root.end_ns - root.start_ns
    return max(part.end_ns for part in spans) - spans[0].start_ns


def _said(own: str, others: Iterable[str]) -> str:
    return own or next((value for value in others if value), "")


def _total(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _cost(values: Iterable[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return sum(known) if known else None
