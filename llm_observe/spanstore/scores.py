"""Scores as the span store takes and gives them; as all values of `llm_observe.spanstore.model`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One result that a span carries, about itself or the span it links to.

    ``number`` is its place among the results of its carrier. ``scope`` says whether the span, its
    whole trace or the session was judged; ``annotator`` is ``HUMAN``, ``LLM``, ``CODE`` or another.
    """

    number: int
    trace_id: bytes
    span_id: bytes
    scope: str
    name: str
    value: float | None
    label: str
    annotator: str
    identifier: str
    session: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class ScoreFilter:
    """Which scores; ``since`` and ``until`` bound when they were given, in unix seconds.

    Service, model, session, user and settings are those of the trace that was judged.
    """

    name: str = ""
    annotator: str = ""
    label: str = ""
    value_min: float | None = None
    value_max: float | None = None
    service: str = ""
    model: str = ""
    session: str = ""
    user: str = ""
    config_hash: str = ""
    trace_id: str = ""
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class ScoreMean:
    """What a trace got under one name: the mean of all that count, and the newest one's label."""

    name: str
    value: float | None
    label: str
    count: int


@dataclass(frozen=True, slots=True)
class Score:
    """One score of a span. Of those by one judge on one thing the ``latest`` counts.

    ``explanation`` is empty where the capture level kept none. The carrier is the span that
    brought the score.
    """

    name: str
    value: float | None
    label: str
    explanation: str
    annotator: str
    identifier: str
    scope: str
    session: str
    time: float
    latest: bool
    trace_id: str
    span_id: str
    carrier_trace_id: str
    carrier_span_id: str


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One score that counts, with what its trace was."""

    time: float
    name: str
    value: float | None
    label: str
    annotator: str
    identifier: str
    scope: str
    trace_id: str
    span_id: str
    session: str
    user: str
    service: str
    model: str
    config_hash: str
