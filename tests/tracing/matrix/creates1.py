"""`replicate` 1.x: predictions that are created, and waited for by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llm_observe.testing import Fault
from llm_observe.testing.catalogue import LLAMA_MODELS
from tests.tracing.matrix.table import DEPLOYMENT, MODEL, Situation, Surface

VERSION = LLAMA_MODELS[MODEL]

Create = Callable[[Situation], Any]

_CREATES: dict[str, Create] = {
    "predictions.create(version)": lambda s: s.client.predictions.create(
        version=VERSION, input=s.input, **s.params
    ),
    "predictions.create(version), by position": lambda s: s.client.predictions.create(
        VERSION, s.input, **s.params
    ),
    "predictions.create(model)": lambda s: s.client.predictions.create(
        model=MODEL, input=s.input, **s.params
    ),
    "predictions.create(deployment)": lambda s: s.client.predictions.create(
        deployment=DEPLOYMENT, input=s.input, **s.params
    ),
    "models.predictions.create": lambda s: s.client.models.predictions.create(
        MODEL, s.input, **s.params
    ),
    "deployments.predictions.create": lambda s: s.client.deployments.predictions.create(
        DEPLOYMENT, s.input, **s.params
    ),
    "deployment.predictions.create": lambda s: s.client.deployments.get(
        DEPLOYMENT
    ).predictions.create(s.input, **s.params),
}
_ASYNC_CREATES: dict[str, Create] = {
    "predictions.async_create(version)": lambda s: s.client.predictions.async_create(
        version=VERSION, input=s.input, **s.params
    ),
    "predictions.async_create(model)": lambda s: s.client.predictions.async_create(
        model=MODEL, input=s.input, **s.params
    ),
    "predictions.async_create(deployment)": lambda s: s.client.predictions.async_create(
        deployment=DEPLOYMENT, input=s.input, **s.params
    ),
    "models.predictions.async_create": lambda s: s.client.models.predictions.async_create(
        MODEL, s.input, **s.params
    ),
    "deployments.predictions.async_create": lambda s: s.client.deployments.predictions.async_create(
        DEPLOYMENT, s.input, **s.params
    ),
    "deployment.predictions.async_create": lambda s: _of_deployment(s),
}
created, _FIRST_ASYNC = _CREATES["predictions.create(version)"], "predictions.async_create(version)"


async def _of_deployment(s: Situation) -> Any:
    deployment = await s.client.deployments.async_get(DEPLOYMENT)
    return await deployment.predictions.async_create(s.input, **s.params)


def asked_for(create: str) -> str:
    """The model that a request of that name tells."""
    if "(version)" in create:
        return ""
    return DEPLOYMENT if "deployment" in create else MODEL


def _like(name: str, other: str) -> str:
    return "" if name == other else other


def _reload(_s: Situation, prediction: Any) -> None:
    for _ in range(20_000):
        if prediction.status in ("succeeded", "failed", "canceled"):
            return
        prediction.reload()
    raise AssertionError("it never ended")


async def _async_reload(_s: Situation, prediction: Any) -> None:
    for _ in range(20_000):
        if prediction.status in ("succeeded", "failed", "canceled"):
            return
        await prediction.async_reload()
    raise AssertionError("it never ended")


async def async_created(s: Situation) -> Any:
    return await _ASYNC_CREATES[_FIRST_ASYNC](s)


WAITING = Fault(queue_s=60)
CANCELLED = dict.fromkeys(
    ("cancelled", "cancelled at the server", "failed at the server"),
    "it is cancelled before the model begins",
)

HANDLES = (
    *(
        Surface(
            name=f"{name}, wait",
            alike=_like(f"{name}, wait", "predictions.create(version), wait"),
            shape="handle",
            asks=asked_for(name),
            open=create,
            finish=lambda _s, p: p.wait(),
        )
        for name, create in _CREATES.items()
    ),
    *(
        Surface(
            name=f"{name}, async_wait",
            alike=_like(f"{name}, async_wait", f"{_FIRST_ASYNC}, async_wait"),
            shape="handle",
            is_async=True,
            asks=asked_for(name),
            open=create,
            finish=lambda _s, p: p.async_wait(),
        )
        for name, create in _ASYNC_CREATES.items()
    ),
    Surface(name="create, reload", shape="handle", asks="", open=created, finish=_reload),
    Surface(
        name="create, async_reload",
        asks="",
        shape="handle",
        is_async=True,
        open=async_created,
        finish=_async_reload,
    ),
    Surface(
        name="create, cancel",
        asks="",
        shape="handle",
        fault=WAITING,
        lacks=CANCELLED,
        open=created,
        finish=lambda _s, p: p.cancel(),
    ),
    Surface(
        name="create, async_cancel",
        asks="",
        shape="handle",
        is_async=True,
        fault=WAITING,
        lacks=CANCELLED,
        open=async_created,
        finish=lambda _s, p: p.async_cancel(),
    ),
    Surface(
        name="create, blocking",
        asks="",
        shape="value",
        open=lambda s: s.client.predictions.create(
            version=VERSION, input=s.input, wait=True, **s.params
        ),
    ),
    Surface(
        name="async_create, blocking",
        asks="",
        shape="value",
        is_async=True,
        open=lambda s: s.client.predictions.async_create(
            version=VERSION, input=s.input, wait=True, **s.params
        ),
    ),
)
