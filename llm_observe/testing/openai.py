"""A fake OpenAI: chat completions over any engine, as the `openai` client uses them.

::

    fake = FakeOpenAI(ScriptedEngine(["Hello there."]))
    with serve_in_thread(fake) as server:
        client = openai.OpenAI(api_key="any", base_url=f"{server.url}/v1")
        client.chat.completions.create(
            model="llama-2-7b", messages=[{"role": "user", "content": "Hi"}]
        )

Served: ``POST /v1/chat/completions`` (whole, and streamed with or without usage), ``GET /v1/models``
and ``GET /healthz``. Anything may be told to go wrong: see `FakeOpenAI.script`.

Source: OpenAI's public API reference, and what `openai` 3 sends and reads.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llm_observe.testing import requests
from llm_observe.testing.completions import Completion, question_of, text_of
from llm_observe.testing.engines import Engine, EngineError
from llm_observe.testing.faults import NO_FAULT, Fault

_MOST_KEPT = 1000
_MOST_BYTES = 4_000_000
_KINDS = {401: "invalid_request_error", 429: "rate_limit_error", 500: "server_error"}


class FakeOpenAI:
    """An ASGI app that answers as OpenAI's chat completions do.

    Args:
        engine: What makes the text.
        token: The one API key that is accepted; None accepts any request.
        models: The models that are served; others are 404. Empty: every name is served.

    `requests` holds the bodies of the chat requests so far, the newest 1000.
    """

    def __init__(
        self, engine: Engine, *, token: str | None = None, models: Collection[str] = ()
    ) -> None:
        self.engine, self.requests = engine, deque[dict[str, Any]](maxlen=_MOST_KEPT)
        self._token, self._models = token, tuple(models)
        self._script: deque[Fault] = deque()
        self._app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/models", self._list_models),
                Route("/healthz", self._health),
            ],
            exception_handlers={requests.Problem: _answer_problem, 404: _answer_missing},
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        await self._app(scope, receive, send)

    def script(self, *faults: Fault) -> None:
        """Say how the coming requests go, in order; `Fault()` is one that goes right.

        Read are ``status`` with ``detail`` and ``retry_after_s``, ``no_answer``, ``queue_s``,
        ``chunk_s``, ``fail_after`` with ``error``, ``hang_after`` and ``break_stream_after``. The
        client asks again by itself where it is refused with 408, 409, 429 or 5xx, or cut off
        (``max_retries``). Safe from any thread. Requests beyond the script go right.
        """
        self._script.extend(faults)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.engine.aclose()

    async def _health(self, _request: Request) -> Response:
        engine = self.engine
        return JSONResponse({"engine": engine.name, "real": engine.real, "reason": engine.reason})

    async def _list_models(self, request: Request) -> Response:
        self._authenticate(request)
        made = {"object": "model", "created": 0, "owned_by": "llm-observe"}
        return JSONResponse(
            {"object": "list", "data": [{"id": name, **made} for name in self._models]}
        )

    async def _chat(self, request: Request) -> Response:
        self._authenticate(request)
        body = await requests.json_object(request, _MOST_BYTES)
        self._check(body)
        self.requests.append(body)
        fault = self._script.popleft() if self._script else NO_FAULT
        if fault.status is not None:
            raise requests.Problem(fault.status, fault.detail, retry_after_s=fault.retry_after_s)
        if fault.no_answer:
            return requests.CutResponse()
        await asyncio.sleep(fault.queue_s)
        completion = Completion(
            f"chatcmpl-{secrets.token_hex(12)}", int(time.time()), body["model"]
        )
        answer = text_of(self.engine.generate(question_of(body)), fault, completion)
        if body.get("stream"):
            told = bool((body.get("stream_options") or {}).get("include_usage"))
            events = completion.events(answer, told)
            return StreamingResponse(events, media_type="text/event-stream")
        try:
            return JSONResponse(await completion.whole(answer))
        except EngineError as error:
            raise requests.Problem(500, str(error)) from error

    def _check(self, body: Mapping[str, Any]) -> None:
        model, messages = body.get("model"), body.get("messages")
        if not isinstance(model, str) or not model:
            raise requests.Problem(400, "you must provide a model parameter")
        if self._models and model not in self._models:
            raise requests.Problem(404, f"The model `{model}` does not exist")
        turns = messages if isinstance(messages, list) else []
        if not turns or not all(isinstance(turn, dict) and "role" in turn for turn in turns):
            raise requests.Problem(400, "'messages' must be a list of messages with a role")

    def _authenticate(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if self._token and not hmac.compare_digest(given.encode(), self._token.encode()):
            raise requests.Problem(401, "Incorrect API key provided")


def _problem(status: int, detail: str, headers: Mapping[str, str]) -> Response:
    error = {"message": detail, "type": _KINDS.get(status, "invalid_request_error")}
    body = {"error": {**error, "param": None, "code": None}}
    return JSONResponse(body, status, dict(headers))


async def _answer_problem(_request: Request, problem: Exception) -> Response:
    if not isinstance(problem, requests.Problem):
        raise problem
    after = problem.retry_after_s
    return _problem(
        problem.status, problem.detail, {} if after is None else {"Retry-After": str(after)}
    )


async def _answer_missing(request: Request, _error: Exception) -> Response:
    return _problem(404, f"Invalid URL ({request.method} {request.url.path})", {})
