"""`replicate` 2.x: predictions that are created, and waited for by their id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llm_observe.testing import Fault
from llm_observe.testing.catalogue import LLAMA_MODELS
from tests.tracing.matrix.table import DEPLOYMENT, MODEL, Situation, Surface

VERSION = LLAMA_MODELS[MODEL]
OWNER, NAME = MODEL.split("/")


def _streamed_response(s: Situation) -> Any:
    with s.client.predictions.with_streaming_response.create(
        version=VERSION, input=s.input, **s.params
    ) as response:
        return response.parse()


async def _async_streamed_response(s: Situation) -> Any:
    async with s.client.predictions.with_streaming_response.create(
        version=VERSION, input=s.input, **s.params
    ) as response:
        return await response.parse()


async def _parsed(s: Situation, response: Any) -> Any:
    return await s.client.predictions.wait((await response.parse()).id)


def _got(s: Situation, prediction: Any) -> Any:
    for _ in range(20_000):
        prediction = s.client.predictions.get(prediction_id=prediction.id)
        if prediction.status in ("succeeded", "failed", "canceled"):
            return prediction
    raise AssertionError("it never ended")


async def _async_got(s: Situation, prediction: Any) -> Any:
    for _ in range(20_000):
        prediction = await s.client.predictions.get(prediction_id=prediction.id)
        if prediction.status in ("succeeded", "failed", "canceled"):
            return prediction
    raise AssertionError("it never ended")


def _asked_for(create: str) -> str:
    """The model that a request of that name tells."""
    return {"models": MODEL, "deployments": DEPLOYMENT}.get(create.partition(".")[0], "")


Ask = Callable[[Situation], Any]
_CREATES: dict[str, Ask] = {
    "predictions.create": lambda s: s.client.predictions.create(
        version=VERSION, input=s.input, **s.params
    ),
    "models.predictions.create": lambda s: s.client.models.predictions.create(
        model_owner=OWNER, model_name=NAME, input=s.input, **s.params
    ),
    "deployments.predictions.create": lambda s: s.client.deployments.predictions.create(
        deployment_owner=DEPLOYMENT.partition("/")[0],
        deployment_name=DEPLOYMENT.partition("/")[2],
        input=s.input,
        **s.params,
    ),
}
_BLOCKING: Ask = lambda s: s.client.predictions.create(  # noqa: E731  # one row of the table
    version=VERSION, input=s.input, prefer="wait", **s.params
)
_NO_STRATEGY = {
    "values that are not JSON": "of this version's two methods only one takes a strategy for files"
}
_QUEUED = Fault(queue_s=60)
_CANCELLED = dict.fromkeys(
    ("cancelled", "cancelled at the server", "failed at the server"),
    "it is cancelled before the model begins",
)


def both(name: str, ask: Ask, **known: Any) -> tuple[Surface, Surface]:
    """A surface and its asynchronous twin, which has the same words."""
    return (
        Surface(name=f"Replicate.{name}", open=ask, **known),
        Surface(name=f"AsyncReplicate.{name}", open=ask, is_async=True, **known),
    )


HANDLES = (
    *(
        each
        for name, create in _CREATES.items()
        for each in both(
            f"{name}, wait",
            create,
            shape="handle",
            asks=_asked_for(name),
            lacks=_NO_STRATEGY if name.startswith("deployments") else {},
            finish=lambda s, p: s.client.predictions.wait(p.id),
        )
    ),
    Surface(
        name="Replicate.predictions.create, get",
        asks="",
        shape="handle",
        open=_CREATES["predictions.create"],
        finish=_got,
    ),
    Surface(
        name="AsyncReplicate.predictions.create, get",
        asks="",
        shape="handle",
        is_async=True,
        open=_CREATES["predictions.create"],
        finish=_async_got,
    ),
    *both(
        "predictions.create, cancel",
        _CREATES["predictions.create"],
        shape="handle",
        asks="",
        fault=_QUEUED,
        lacks=_CANCELLED,
        finish=lambda s, p: s.client.predictions.cancel(prediction_id=p.id),
    ),
    *both("predictions.create, blocking", _BLOCKING, shape="value", asks=""),
    Surface(
        name="Replicate.predictions.with_raw_response.create, wait",
        asks="",
        shape="handle",
        open=lambda s: s.client.predictions.with_raw_response.create(
            version=VERSION, input=s.input, **s.params
        ),
        finish=lambda s, response: s.client.predictions.wait(response.parse().id),
    ),
    Surface(
        name="AsyncReplicate.predictions.with_raw_response.create, wait",
        asks="",
        shape="handle",
        is_async=True,
        open=lambda s: s.client.predictions.with_raw_response.create(
            version=VERSION, input=s.input, **s.params
        ),
        finish=_parsed,
    ),
    Surface(
        name="Replicate.predictions.with_streaming_response.create, wait",
        asks="",
        shape="handle",
        open=_streamed_response,
        finish=lambda s, p: s.client.predictions.wait(p.id),
    ),
    Surface(
        name="AsyncReplicate.predictions.with_streaming_response.create, wait",
        asks="",
        shape="handle",
        is_async=True,
        open=_async_streamed_response,
        finish=lambda s, p: s.client.predictions.wait(p.id),
    ),
)
