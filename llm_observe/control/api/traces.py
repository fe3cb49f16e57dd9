"""REST: traces, spans, scores, series, sessions."""

from __future__ import annotations

import math
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from llm_observe.control.api.agents import Cursor
from llm_observe.control.api.answers import Serving
from llm_observe.spanstore import model
from llm_observe.spanstore.model import (
    Facets,
    Page,
    Series,
    SeriesQuery,
    SessionSummary,
    Span,
    SpanFilter,
    TraceFilter,
    TraceSummary,
)
from llm_observe.spanstore.scores import ScoreFilter, ScoreLine

router = APIRouter(tags=["traces"])
Text = Annotated[str, Field(max_length=512)]
Seconds = Annotated[float, Field(ge=0, le=4e9, allow_inf_nan=False, description="Unix seconds")]
_STRICT = ConfigDict(extra="forbid")  # a misspelt filter must not answer with everything
TraceId = Annotated[str, Field(pattern="^([0-9a-fA-F]{32})?$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
CHART_POINTS = 120
"""Steps of a chart where none was asked for."""


class _Where(BaseModel):
    model_config = _STRICT

    service: Text = ""
    model: Text = ""
    session: Text = ""
    user: Text = ""
    error: bool | None = None
    since: Seconds | None = None
    until: Seconds | None = None
    min_duration_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    config_hash: Text = ""
    cursor: Annotated[str, Field(max_length=1024)] | None = None

    def asked(self) -> dict[str, Any]:
        """What narrows the answer, without how much of it is wanted."""
        return self.model_dump(exclude={"cursor", "limit", "columns"})


class TracesQuery(_Where):
    """Which traces; empty asks nothing. ``text`` is looked for in names, content and errors.

    ``score`` is the name of a score that a trace has got; ``score_min`` and ``score_max`` bound
    its value, or with no name that of any score.
    """

    text: Text = ""
    score: Text = ""
    score_min: Number | None = None
    score_max: Number | None = None
    score_label: Text = ""
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class SpansQuery(_Where):
    """Which spans, and which columns of them (separated by commas)."""

    kind: Text = ""
    name: Text = ""
    trace_id: TraceId = ""
    columns: Annotated[str, Field(max_length=2000)] = ""
    limit: Annotated[int, Field(ge=1, le=5000)] = 1000


class ScoresQuery(BaseModel):
    """Which scores. Service, model, session, user and settings are those of what was judged."""

    model_config = _STRICT

    name: Text = ""
    annotator: Text = ""
    label: Text = ""
    value_min: Number | None = None
    value_max: Number | None = None
    service: Text = ""
    model: Text = ""
    session: Text = ""
    user: Text = ""
    config_hash: Text = ""
    trace_id: TraceId = ""
    since: Seconds | None = None
    until: Seconds | None = None
    cursor: Annotated[str, Field(max_length=1024)] | None = None
    limit: Annotated[int, Field(ge=1, le=5000)] = 1000


class ChartQuery(BaseModel):
    """Which chart. Without ``since`` the last hour, without ``step`` some 120 points."""

    model_config = _STRICT

    metric: Literal["duration", "ttft", "tokens", "calls", "errors"]
    since: Seconds | None = None
    until: Seconds | None = None
    step: Annotated[int, Field(ge=1, le=31_536_000, description="Seconds")] | None = None
    by: Literal["model", "service"] | None = None
    service: Text = ""
    model: Text = ""


class Deleted(BaseModel):
    """How many traces went."""

    deleted: int


class TraceAnswer(BaseModel):
    """One trace."""

    trace_id: str
    spans: list[Span]
    total: int
    """How many spans the trace has; ``spans`` holds the first of them."""


@router.get("/traces", response_model=Page[TraceSummary])
async def list_traces(service: Serving, query: Annotated[TracesQuery, Query()]) -> JSONResponse:
    """Trace summaries, newest first."""
    where = TraceFilter(**query.asked())
    return _json(await service.traces(where, limit=query.limit, cursor=query.cursor))


@router.get("/traces/{trace_id}", response_model=TraceAnswer)
async def get_trace(
    service: Serving, trace_id: str, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000
) -> JSONResponse:
    """The first spans of one trace, payload decoded; content as the capture level allowed."""
    spans = await service.trace(trace_id, limit=limit)
    total = await service.trace_size(trace_id)
    return _json({"trace_id": trace_id.lower(), "spans": spans, "total": total})


@router.get("/spans", response_model=Page[dict[str, Any]])
async def list_spans(service: Serving, query: Annotated[SpansQuery, Query()]) -> JSONResponse:
    """Rows of spans for data frames, newest first."""
    columns = [name.strip() for name in query.columns.split(",") if name.strip()] or None
    where = SpanFilter(**query.asked())
    page = await service.spans(where, columns=columns, limit=query.limit, cursor=query.cursor)
    return _json(page)


@router.get("/scores", response_model=Page[ScoreLine])
async def list_scores(service: Serving, query: Annotated[ScoresQuery, Query()]) -> JSONResponse:
    """What was judged, newest first; of several scores by one judge on one thing the latest."""
    where = ScoreFilter(**query.model_dump(exclude={"cursor", "limit"}))
    return _json(await service.scores(where, limit=query.limit, cursor=query.cursor))


@router.get("/series", response_model=list[Series])
async def get_series(service: Serving, query: Annotated[ChartQuery, Query()]) -> JSONResponse:
    """One metric over time. From metrics, so it is true whatever is sampled."""
    until = time.time() if query.until is None else query.until
    since = max(0.0, until - 3600) if query.since is None else query.since
    step = query.step or max(1, math.ceil((until - since) / CHART_POINTS))
    asked = SeriesQuery(
        query.metric, since, until, step, query.by, service=query.service, model=query.model
    )
    return _json(await service.series(asked))


@router.get("/facets", response_model=Facets)
async def get_facets(service: Serving) -> JSONResponse:
    """The services, models, sessions and users that spans are from, and the names of scores."""
    return _json(await service.facets())


@router.get("/sessions", response_model=Page[SessionSummary])
async def list_sessions(
    service: Serving,
    name: Annotated[str, Query(alias="service", max_length=255)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
) -> JSONResponse:
    """Conversations, last active first."""
    return _json(await service.sessions(service=name, limit=limit, cursor=cursor))


@router.delete("/sessions/{session_id:path}")
async def delete_session(service: Serving, session_id: str) -> Deleted:
    """Delete all traces of one session, content and all."""
    return Deleted(deleted=await service.delete_session(session_id))


def _json(value: Any) -> JSONResponse:
    return JSONResponse(model.to_json(value))
