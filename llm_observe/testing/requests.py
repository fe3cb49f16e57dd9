"""HTTP details of the fake Replicate: reading requests within bounds, and its problem answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

LEAST_CANCEL_AFTER_S = 5
_DURATION = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,4})m)?(?:(\d{1,6})s?)?")
_WAIT = re.compile(r"\bwait(?:=(\d{1,4}))?(?![\w=])")


class Problem(Exception):
    """An answer that says what is wrong (RFC 7807, as Replicate fills it)."""

    def __init__(
        self, status: int, detail: str, title: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.title = status, detail, title
        self.retry_after_s = retry_after_s

    def response(self) -> Response:
        """The HTTP answer."""
        body = {"title": self.title, "detail": self.detail, "status": self.status}
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        shown = {key: value for key, value in body.items() if value is not None}
        return JSONResponse(shown, self.status, headers, media_type="application/problem+json")


def unauthenticated() -> Problem:
    """401, for a missing or wrong token."""
    return Problem(401, "You did not pass a valid authentication token", "Unauthenticated")


def not_found() -> Problem:
    """404, for anything that is not there."""
    return Problem(404, "The requested resource could not be found.")


def unprocessable(problems: Mapping[str, str]) -> Problem:
    """422, one line per wrong field."""
    lines = "".join(f"- {field}: {wrong}\n" for field, wrong in problems.items())
    return Problem(422, lines, "Input validation failed")


def throttled(retry_after_s: int) -> Problem:
    """429, when too much runs at once."""
    detail = f"Request was throttled. Expected available in {retry_after_s} seconds."
    return Problem(429, detail, retry_after_s=retry_after_s)


async def answer_problem(_request: Request, problem: Exception) -> Response:
    """Turn a `Problem` that an endpoint raised into its answer."""
    if not isinstance(problem, Problem):
        raise problem
    return problem.response()


async def answer_not_found(_request: Request, _error: Exception) -> Response:
    """The answer for a path that does not exist."""
    return not_found().response()


async def json_object(request: Request, most_bytes: int) -> dict[str, Any]:
    """Read the body as a JSON object.

    Raises:
        Problem: 413 beyond `most_bytes`, 400 when it is no JSON object.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise Problem(413, f"The request body is larger than {most_bytes} bytes.")
    try:
        value = json.loads(bytes(body))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Problem(400, "The request body is not a JSON object.")
    return value


def wait_seconds(request: Request, longest_s: float) -> float:
    """Seconds that ``Prefer: wait`` asks for; 0 when it does not ask."""
    found = _WAIT.search(request.headers.get("prefer", ""))
    if not found:
        return 0.0
    return min(float(found[1] or longest_s), longest_s)


def cancel_after_seconds(request: Request) -> float | None:
    """Seconds of the ``Cancel-After`` header (``90``, ``90s``, ``1m30s``); None without it.

    Raises:
        Problem: 422, when it is no duration of five seconds or more.
    """
    given = request.headers.get("cancel-after")
    if given is None:
        return None
    found = _DURATION.fullmatch(given.strip())
    units = dict(zip((3600, 60, 1), found.groups(), strict=True)) if found else {}
    seconds = sum(unit * int(number) for unit, number in units.items() if number)
    if seconds < LEAST_CANCEL_AFTER_S:
        raise unprocessable({"Cancel-After": "Must be a duration of 5 seconds or more"})
    return float(seconds)


def base_url(request: Request) -> str:
    """Where the client reached us, without a slash at the end."""
    return str(request.base_url).rstrip("/")


def owner_and_name(request: Request) -> str:
    """``owner/name`` of the path."""
    return f"{request.path_params['owner']}/{request.path_params['name']}"


async def client_gone(request: Request) -> None:
    """Return when the client has closed its connection; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


class CutResponse(Response):
    """Begins to answer, and closes the connection instead of sending the body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a head that promises a body, then break off."""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        raise ConnectionAbortedError("cut by the script")
