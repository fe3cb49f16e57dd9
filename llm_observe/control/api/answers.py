"""What answers have in common: problems as ``application/problem+json``, and who is asking."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import Response

from llm_observe.control.access.door import ACTOR, problem_body
from llm_observe.control.service import Service
from llm_observe.errors import (
    Conflict,
    Forbidden,
    LLMObserveError,
    NotFound,
    Problem,
    SettingsError,
    StoreError,
)
from llm_observe.settings.documents import join_path

logger = logging.getLogger(__name__)

_STATUS: Mapping[type[LLMObserveError], int] = {
    SettingsError: 422,
    NotFound: 404,
    Conflict: 409,
    Forbidden: 403,
}


class ProblemLine(BaseModel):
    """One wrong key or parameter."""

    path: str
    found: str
    expected: str


class ProblemAnswer(BaseModel):
    """An error (RFC 9457)."""

    title: str
    status: int
    detail: str
    problems: list[ProblemLine]


_COMPONENTS = "#/components/schemas/{model}"
SCHEMAS: Mapping[str, Any] = models_json_schema(
    [(ProblemAnswer, "serialization")], ref_template=_COMPONENTS
)[1]["$defs"]
"""What the OpenAPI document says of errors, by the name that `ERRORS` refers to."""


def _documented(sentence: str) -> dict[str, Any]:
    schema = {"$ref": _COMPONENTS.format(model=ProblemAnswer.__name__)}
    return {"description": sentence, "content": {"application/problem+json": {"schema": schema}}}


ERRORS: dict[int | str, dict[str, Any]] = {
    400: _documented("The request cannot be read, or the traces cannot answer it."),
    401: _documented("An admin token is needed."),
    403: _documented("The token, the host or the origin does not allow this."),
    404: _documented("There is no such thing."),
    409: _documented("The present state does not allow this."),
    413: _documented("The body is too large."),
    422: _documented("One entry in `problems` per wrong key; nothing was changed."),
    503: _documented("The storage cannot be used at the moment."),
}


def problem(status: int, detail: str, problems: Sequence[Problem] = ()) -> Response:
    """An error answer."""
    lines = [{"path": p.path, "found": p.found, "expected": p.expected} for p in problems]
    body = problem_body(status, HTTPStatus(status).phrase, detail, lines)
    return Response(body, status, media_type="application/problem+json")


async def _ours(_: Request, error: Exception) -> Response:
    problems = error.problems if isinstance(error, SettingsError) else ()
    status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 500)
    return problem(status, str(error), problems)


async def _store(_: Request, error: Exception) -> Response:
    """A broken disk is ours; a question that the store cannot answer is the asker's."""
    ours = isinstance(error.__cause__, sqlite3.Error | OSError) or "closed" in str(error)
    return problem(503 if ours else 400, str(error))


async def _invalid(_: Request, error: Exception) -> Response:
    items = error.errors() if isinstance(error, RequestValidationError) else []
    problems = [_line(item) for item in items]
    return problem(422, "\n".join(map(str, problems)), problems)


def _line(item: Mapping[str, Any]) -> Problem:
    where = tuple(str(part) for part in item["loc"][1:])
    found = "nothing" if item["type"] == "missing" else _shown(item.get("input"))
    return Problem(join_path(where), found, str(item["msg"]).lower())


def _shown(value: Any) -> str:
    """Never more of an input than a glance: it may be large, or hold a secret."""
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


async def _http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    answer = problem(error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _fault(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "the control plane failed; its log says more")


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Any]] = {
    LLMObserveError: _ours,
    StoreError: _store,
    RequestValidationError: _invalid,
    HTTPException: _http,
    Exception: _fault,
}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _actor(request: Request) -> str:
    return str(request.scope.get(ACTOR, ""))


Serving = Annotated[Service, Depends(_service)]
Actor = Annotated[str, Depends(_actor)]
