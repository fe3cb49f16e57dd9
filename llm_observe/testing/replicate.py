"""A fake Replicate: its HTTP API over any engine, faithful to what the `replicate` client uses.

::

    fake = FakeReplicate(ScriptedEngine(["Hello there."]))
    with serve_in_thread(fake) as server:
        client = replicate.Client("any token", base_url=server.url)
        client.run("meta/llama-2-7b-chat", input={"prompt": "Hi"})

Served: predictions by official model, by version and by deployment (with ``Prefer: wait`` and
``Cancel-After``), polling, listing, cancelling, event streams, models, versions, deployments, and
`GET /healthz`. Anything may be told to go wrong: see `FakeReplicate.script`.

Source: Replicate's public HTTP reference, and the requests of `replicate` 1.0 and 2.0 (whose
``base_url`` ends in ``/v1``). What could not be compared with the service: docs/testing.md.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llm_observe.testing import requests
from llm_observe.testing.browsing import Browsing, Endpoint
from llm_observe.testing.catalogue import LLAMA_MODELS, Catalogue, input_problems
from llm_observe.testing.engines import Engine
from llm_observe.testing.existing import Existing
from llm_observe.testing.faults import NO_FAULT, Fault
from llm_observe.testing.predictions import Prediction, Predictions, Runner

_NOTHING: Mapping[str, str] = MappingProxyType({})


def new_prediction_id() -> str:
    """A random id of 26 characters, as Replicate's are."""
    return secrets.token_hex(13)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What the fake server bears."""

    predictions: int = 1000
    """Predictions remembered; the oldest ended one is forgotten first."""

    running: int = 64
    """Predictions at the same time; beyond it a create is answered 429."""

    body_bytes: int = 1_000_000
    """Largest request body; beyond it 413."""

    input_characters: int = 200_000
    """Most text of one input; beyond it 422."""

    longest_wait_s: float = 60.0
    """Longest a blocking create is held, in seconds."""

    keep_alive_s: float = 10.0
    """Silence after which an event stream gets a comment, in seconds."""


class FakeReplicate:
    """An ASGI app that answers as Replicate does.

    Args:
        engine: What makes the text.
        token: The one API token that is accepted; None accepts any request.
        models: Served models: name → version id. Others are 404 (422 by version).
        deployments: Served deployments: ``owner/name`` → model name.
        official: Models that Replicate runs itself: their predictions show the version
            ``hidden``, and their versions are not listed (404).
        limits: What the server bears.
        cancel_on_disconnect: Cancel a prediction when the last reader of its stream, or its
            blocking creator, goes away. Replicate lets it run on, so False is faithful; True
            frees a small machine.
        now: The clock, Unix seconds.
        new_id: Makes prediction ids.

    `requests` counts what arrived by ``"METHOD /path"``; `predictions` holds what was made.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        token: str | None = None,
        models: Mapping[str, str] = LLAMA_MODELS,
        deployments: Mapping[str, str] = _NOTHING,
        official: Collection[str] = (),
        limits: ServerLimits | None = None,
        cancel_on_disconnect: bool = False,
        now: Callable[[], float] = time.time,
        new_id: Callable[[], str] = new_prediction_id,
    ) -> None:
        self.engine, self.limits = engine, limits or ServerLimits()
        self.predictions = Predictions(self.limits.predictions)
        self.requests: dict[str, int] = {}
        self._token, self._catalogue = token, Catalogue(models, deployments, official)
        self._cancel_on_disconnect, self._now, self._new_id = cancel_on_disconnect, now, new_id
        self._runner = Runner(engine, now)
        self._script: deque[Fault] = deque()
        self._app = self._starlette()

    def script(self, *faults: Fault) -> None:
        """Say how the coming create requests go, in order; `Fault()` is one that goes right.

        Safe from any thread. Requests beyond the script go right.
        """
        self._script.extend(faults)

    def clear_script(self) -> None:
        """Forget what `script` still holds."""
        self._script.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "http":
            self._count(f"{scope['method']} {scope['path']}")
        await self._app(scope, receive, send)

    def _count(self, key: str) -> None:
        if key in self.requests or len(self.requests) < 4 * self.limits.predictions:
            self.requests[key] = self.requests.get(key, 0) + 1

    def _starlette(self) -> Starlette:
        model, deployment = "/v1/models/{owner}/{name}", "/v1/deployments/{owner}/{name}"
        made = Existing(
            self.predictions, self._runner, self.limits.keep_alive_s, self._cancel_on_disconnect
        )
        table: list[tuple[str, str, Endpoint]] = [
            ("GET", "/healthz", self._health),
            ("GET", "/v1/streams/{id}", made.stream),
            ("POST", "/v1/predictions", self._guarded(self._create_by_version)),
            ("POST", f"{model}/predictions", self._guarded(self._create_by_model)),
            ("POST", f"{deployment}/predictions", self._guarded(self._create_by_deployment)),
        ]
        browsing = Browsing(self._catalogue).routes(model, deployment)
        for method, path, answer in (*made.routes(), *browsing):
            table.append((method, path, self._guarded(answer)))
        return Starlette(
            routes=[Route(path, answer, methods=[method]) for method, path, answer in table],
            lifespan=self._lifespan,
            exception_handlers={
                requests.Problem: requests.answer_problem,
                404: requests.answer_not_found,
            },
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._runner.aclose()
            await self.engine.aclose()

    def _guarded(self, answer: Endpoint) -> Endpoint:
        """Ask for the token first; what the catalogue does not know is 404."""

        async def guarded(request: Request) -> Response:
            self._authenticate(request)
            try:
                return await answer(request)
            except KeyError as error:
                raise requests.not_found() from error

        return guarded

    def _authenticate(self, request: Request) -> None:
        if self._token is None:
            return
        _, _, given = request.headers.get("authorization", "").partition(" ")
        if not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            raise requests.unauthenticated()

    async def _health(self, _request: Request) -> Response:
        engine = self.engine
        health = {"engine": engine.name, "real": engine.real, "reason": engine.reason}
        return JSONResponse(health)

    async def _create_by_model(self, request: Request) -> Response:
        return await self._create(request, lambda _: requests.owner_and_name(request))

    async def _create_by_deployment(self, request: Request) -> Response:
        deployment = requests.owner_and_name(request)
        model = self._catalogue.deployments[deployment]
        return await self._create(request, lambda _: model, deployment)

    async def _create_by_version(self, request: Request) -> Response:
        return await self._create(request, self._model_of_body)

    def _model_of_body(self, body: Mapping[str, Any]) -> str:
        try:
            return self._catalogue.model_of_version(str(body.get("version")))
        except KeyError as error:
            wrong = {"version": "Invalid version or not permitted"}
            raise requests.unprocessable(wrong) from error

    async def _create(
        self,
        request: Request,
        model_of: Callable[[Mapping[str, Any]], str],
        deployment: str | None = None,
    ) -> Response:
        body = await requests.json_object(request, self.limits.body_bytes)
        prediction = self._checked(body, model_of(body))
        prediction.deployment = deployment
        prediction.cancel_after_s = requests.cancel_after_seconds(request)
        prediction.fault = self._next_fault()
        if prediction.fault.no_answer:
            return requests.CutResponse()
        self.predictions.add(prediction)
        self._runner.start(prediction)
        wait_s = requests.wait_seconds(request, self.limits.longest_wait_s)
        await self._hold(request, prediction, wait_s)
        return JSONResponse(_created(request, prediction, held=wait_s > 0), 201)

    def _next_fault(self) -> Fault:
        """What the script says for this request; its refusals and ours are raised."""
        fault = self._script.popleft() if self._script else NO_FAULT
        if fault.status is not None:
            raise requests.Problem(fault.status, fault.detail, retry_after_s=fault.retry_after_s)
        if self._runner.running >= self.limits.running:
            raise requests.throttled(1)
        return fault

    def _checked(self, body: dict[str, Any], model: str) -> Prediction:
        """A prediction as the body asks for it; it has not begun."""
        version = self._catalogue.version_of(model)
        if problems := input_problems(body.get("input"), self.limits.input_characters):
            raise requests.unprocessable(problems)
        return Prediction(
            id=self._new_id(),
            model=model,
            version=version,
            input=body["input"],
            created=self._now(),
            hidden=model in self._catalogue.official,
        )

    async def _hold(self, request: Request, prediction: Prediction, wait_s: float) -> None:
        """Keep a blocking create until the end, the time it asked for, or its client's leaving."""
        if not wait_s:
            return
        done = asyncio.ensure_future(prediction.finished())
        gone = asyncio.ensure_future(requests.client_gone(request))
        try:
            await asyncio.wait({done, gone}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and self._cancel_on_disconnect:
                self._runner.cancel(prediction)
        finally:
            done.cancel()
            gone.cancel()


def _created(request: Request, prediction: Prediction, *, held: bool) -> dict[str, Any]:
    """A create's answer; a wait that ran out says ``starting``, however far it has come."""
    shown = prediction.json(requests.base_url(request))
    if held and not prediction.terminal:
        shown["status"] = "starting"
    if held and prediction.fault.early_answer:
        shown.update(status="processing", metrics={}, completed_at=None)
    return shown
