"""What of the fake Replicate is about predictions that are there: read, list, cancel, stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import islice

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from llm_observe.testing import requests, streams
from llm_observe.testing.browsing import Endpoint
from llm_observe.testing.predictions import Prediction, Predictions, Runner

_PAGE = 100


class Existing:
    """The endpoints over the predictions that are remembered.

    Args:
        predictions: All of them.
        runner: What runs them.
        keep_alive_s: Silence after which an event stream gets a comment, in seconds.
        cancel_on_disconnect: Cancel one when the last reader of its stream goes away.
    """

    def __init__(
        self,
        predictions: Predictions,
        runner: Runner,
        keep_alive_s: float,
        cancel_on_disconnect: bool,
    ) -> None:
        self._predictions, self._runner = predictions, runner
        self._keep_alive_s, self._cancel_on_disconnect = keep_alive_s, cancel_on_disconnect

    def routes(self) -> list[tuple[str, str, Endpoint]]:
        """Method, path and endpoint of what needs a token; `stream` needs none."""
        return [
            ("GET", "/v1/predictions", self._list),
            ("GET", "/v1/predictions/{id}", self._get),
            ("POST", "/v1/predictions/{id}/cancel", self._cancel),
        ]

    async def _get(self, request: Request) -> Response:
        prediction = self._prediction(request)
        await asyncio.sleep(prediction.fault.get_delay_s)
        if prediction.fault.get_status is not None:
            raise requests.Problem(prediction.fault.get_status, prediction.fault.detail)
        return JSONResponse(prediction.json(requests.base_url(request)))

    async def _list(self, request: Request) -> Response:
        """Newest first, a hundred a page; the cursor is the last id of the page before."""
        base, cursor = requests.base_url(request), request.query_params.get("cursor")
        known = iter(self._predictions)
        if cursor is not None and all(each.id != cursor for each in known):
            raise requests.not_found()
        page = list(islice(known, _PAGE))
        more = next(known, None) is not None
        following = f"{base}/v1/predictions?cursor={page[-1].id}" if more else None
        shown = [prediction.json(base) for prediction in page]
        return JSONResponse({"previous": None, "next": following, "results": shown})

    async def _cancel(self, request: Request) -> Response:
        prediction = self._prediction(request)
        self._runner.cancel(prediction)
        return JSONResponse(prediction.json(requests.base_url(request)))

    def _prediction(self, request: Request) -> Prediction:
        prediction = self._predictions.get(request.path_params["id"])
        if prediction is None:
            raise requests.not_found()
        return prediction

    async def stream(self, request: Request) -> Response:
        """The stream's address is the permission: it holds the prediction's random id."""
        prediction = self._prediction(request)
        if prediction.fault.stream_status is not None:
            raise requests.Problem(prediction.fault.stream_status, prediction.fault.detail)
        events = self._events(prediction)
        headers = {"Cache-Control": "no-store"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _events(self, prediction: Prediction) -> AsyncGenerator[str]:
        prediction.readers += 1
        try:
            async for event in streams.events(prediction, self._keep_alive_s):
                yield event
        finally:
            prediction.readers -= 1
            if self._cancel_on_disconnect and not prediction.readers:
                self._runner.cancel(prediction)
