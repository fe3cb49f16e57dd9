"""The surfaces of `replicate` 1.x, all of them.

What makes no prediction (models, files, trainings, `predictions.get` and `list` of predictions
made elsewhere) is no call to a model and has no span.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import replicate
from replicate.client import Client

from llm_observe.testing import Fault
from llm_observe.testing.catalogue import LLAMA_MODELS
from tests.tracing.matrix.table import DEPLOYMENT, MODEL, Situation, Surface

# Taken before anything is wrapped, as an app may do.
from replicate import async_run as early_async_run  # isort: skip
from replicate import run as early_run  # isort: skip
from replicate import stream as early_stream  # isort: skip

VERSION = LLAMA_MODELS[MODEL]
REFERENCE = f"{MODEL}:{VERSION}"
POLL_S = 0.003


@contextmanager
def client(url: str, **options: Any) -> Iterator[Any]:
    """A client for one case."""
    made: Any = Client("any", base_url=url, **options)
    made.poll_interval = POLL_S
    try:
        yield made
    finally:
        if made._Client__client is not None:  # it has no close()
            made._client.close()


@asynccontextmanager
async def async_client(url: str, **options: Any) -> AsyncIterator[Any]:
    """A client for one case, in its loop."""
    with client(url, **options) as made:
        try:
            yield made
        finally:
            if made._Client__async_client is not None:
                await made._async_client.aclose()


@contextmanager
def module_client(url: str) -> Iterator[None]:
    """Point the functions of the module at a server."""
    shared: Any = replicate.default_client
    before = {name: os.environ.get(name) for name in ("REPLICATE_BASE_URL", "REPLICATE_API_TOKEN")}
    os.environ.update(REPLICATE_BASE_URL=url, REPLICATE_API_TOKEN="any")
    kept, shared.poll_interval = shared.poll_interval, POLL_S
    shared._Client__client = shared._Client__async_client = None
    try:
        yield
    finally:
        if shared._Client__client is not None:
            shared._client.close()
        shared._Client__client = shared._Client__async_client = None
        shared.poll_interval = kept
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@asynccontextmanager
async def async_module_client() -> AsyncIterator[None]:
    """Close what the module's asynchronous functions opened, in their loop."""
    shared: Any = replicate.default_client
    try:
        yield
    finally:
        if shared._Client__async_client is not None:
            await shared._async_client.aclose()
        shared._Client__async_client = None


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
_FIRST, _FIRST_ASYNC = _CREATES["predictions.create(version)"], "predictions.async_create(version)"


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


async def _async_run(s: Situation, reference: Any = MODEL, **more: Any) -> Any:
    return await s.client.async_run(reference, input=s.input, **more, **s.params)


async def _async_created(s: Situation) -> Any:
    return await _ASYNC_CREATES[_FIRST_ASYNC](s)


async def _async_iterated(s: Situation) -> Any:
    return (await _async_created(s)).async_output_iterator()


async def _async_streamed(s: Situation) -> Any:
    return (await _async_created(s)).async_stream()


async def _async_stream(s: Situation) -> Any:
    return await s.client.async_stream(MODEL, input=s.input, **s.params)


WAITING = Fault(queue_s=60)
CANCELLED = dict.fromkeys(
    ("cancelled", "cancelled at the server", "failed at the server"),
    "it is cancelled before the model begins",
)

RUNS = (
    Surface(
        name="Client.run",
        shape="value",
        open=lambda s: s.client.run(MODEL, input=s.input, **s.params),
    ),
    Surface(
        name="Client.run, plain output",
        alike="Client.run",
        shape="value",
        open=lambda s: s.client.run(MODEL, s.input, use_file_output=False, **s.params),
    ),
    Surface(
        name="Client.run, polled",
        shape="value",
        open=lambda s: s.client.run(MODEL, input=s.input, wait=False, **s.params),
    ),
    Surface(
        name="Client.run by version",
        shape="stream",
        open=lambda s: s.client.run(REFERENCE, input=s.input, **s.params),
    ),
    Surface(
        name="Client.run by version, polled",
        shape="stream",
        live=True,
        open=lambda s: s.client.run(REFERENCE, input=s.input, wait=False, **s.params),
    ),
    Surface(
        name="Client.run of a Model",
        alike="Client.run",
        shape="value",
        open=lambda s: s.client.run(s.client.models.get(MODEL), input=s.input, **s.params),
    ),
    Surface(
        name="Client.run of a Version",
        alike="Client.run by version",
        asks="",
        shape="stream",
        open=lambda s: s.client.run(
            s.client.models.get(MODEL).versions.get(VERSION), input=s.input, **s.params
        ),
    ),
    Surface(
        name="replicate.run, imported early",
        alike="Client.run",
        shape="value",
        open=lambda s: early_run(MODEL, input=s.input, **s.params),
    ),
    Surface(
        name="Client.async_run",
        shape="value",
        is_async=True,
        open=lambda s: _async_run(s),
    ),
    Surface(
        name="Client.async_run, polled",
        shape="value",
        is_async=True,
        open=lambda s: _async_run(s, wait=False),
    ),
    Surface(
        name="Client.async_run by version",
        shape="stream",
        is_async=True,
        open=lambda s: _async_run(s, REFERENCE),
    ),
    Surface(
        name="Client.async_run by version, polled",
        shape="stream",
        is_async=True,
        live=True,
        open=lambda s: _async_run(s, REFERENCE, wait=False),
    ),
    Surface(
        name="replicate.async_run, imported early",
        alike="Client.async_run",
        shape="value",
        is_async=True,
        open=lambda s: early_async_run(MODEL, input=s.input, **s.params),
    ),
)

STREAMS = (
    Surface(
        name="Client.stream",
        shape="stream",
        lazy=True,
        live=True,
        sends_events=True,
        open=lambda s: s.client.stream(MODEL, input=s.input, **s.params),
    ),
    Surface(
        name="Client.stream by version",
        alike="Client.stream",
        shape="stream",
        lazy=True,
        live=True,
        sends_events=True,
        open=lambda s: s.client.stream(REFERENCE, input=s.input, **s.params),
    ),
    Surface(
        name="replicate.stream, imported early",
        alike="Client.stream",
        shape="stream",
        lazy=True,
        live=True,
        sends_events=True,
        open=lambda s: early_stream(MODEL, input=s.input, **s.params),
    ),
    Surface(
        name="Client.async_stream",
        shape="stream",
        is_async=True,
        lazy=True,
        live=True,
        sends_events=True,
        open=_async_stream,
    ),
    Surface(
        name="create, then Prediction.stream",
        asks="",
        shape="stream",
        live=True,
        sends_events=True,
        open=lambda s: _FIRST(s).stream(),
    ),
    Surface(
        name="create, then Prediction.async_stream",
        asks="",
        shape="stream",
        is_async=True,
        live=True,
        sends_events=True,
        open=_async_streamed,
    ),
    Surface(
        name="create, then Prediction.output_iterator",
        asks="",
        shape="stream",
        live=True,
        open=lambda s: _FIRST(s).output_iterator(),
    ),
    Surface(
        name="create, then Prediction.async_output_iterator",
        asks="",
        shape="stream",
        is_async=True,
        live=True,
        open=_async_iterated,
    ),
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
    Surface(name="create, reload", shape="handle", asks="", open=_FIRST, finish=_reload),
    Surface(
        name="create, async_reload",
        asks="",
        shape="handle",
        is_async=True,
        open=_async_created,
        finish=_async_reload,
    ),
    Surface(
        name="create, cancel",
        asks="",
        shape="handle",
        fault=WAITING,
        lacks=CANCELLED,
        open=_FIRST,
        finish=lambda _s, p: p.cancel(),
    ),
    Surface(
        name="create, async_cancel",
        asks="",
        shape="handle",
        is_async=True,
        fault=WAITING,
        lacks=CANCELLED,
        open=_async_created,
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

SURFACES = (*RUNS, *STREAMS, *HANDLES)
