"""The surfaces of `replicate` 2.x (2.0.0b4), all of them.

`Client.use` is not among them: in this version it raises for any argument; `replicate.use` works.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import certifi

from llm_observe.testing import Fault
from llm_observe.testing.catalogue import LLAMA_MODELS, version_json
from tests.tracing.matrix.table import DEPLOYMENT, MODEL, Situation, Surface

replicate: Any = importlib.import_module("replicate")
# Taken before anything is wrapped, as an app may do.
early_run, early_use, early_stream = replicate.run, replicate.use, replicate.stream

VERSION = LLAMA_MODELS[MODEL]
OWNER, NAME = MODEL.split("/")
POLL_S = "0.003"
_END = "-----END CERTIFICATE-----"


@contextmanager
def client(url: str, **options: Any) -> Iterator[Any]:
    """A client for one case."""
    http = replicate.DefaultHttpxClient(**options)
    with replicate.Replicate(
        bearer_token="any", base_url=f"{url}/v1", max_retries=0, http_client=http
    ) as made:
        yield made


@asynccontextmanager
async def async_client(url: str, **options: Any) -> AsyncIterator[Any]:
    """A client for one case, in its loop."""
    http = replicate.DefaultAsyncHttpxClient(**options)
    async with replicate.AsyncReplicate(
        bearer_token="any", base_url=f"{url}/v1", max_retries=0, http_client=http
    ) as made:
        yield made


@contextmanager
def module_client(url: str) -> Iterator[None]:
    """Point the functions of the module, and what `use` makes, at a server."""
    bundle = Path(certifi.where()).read_text()
    authority = Path(tempfile.mkdtemp()) / "one.pem"
    authority.write_text(bundle[: bundle.index(_END) + len(_END)] + "\n")
    wanted = {
        "SSL_CERT_FILE": str(authority),  # `use` makes many clients; each would load all of them
        "REPLICATE_BASE_URL": f"{url}/v1",
        "REPLICATE_API_TOKEN": "any",
        "REPLICATE_POLL_INTERVAL": POLL_S,
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        shutil.rmtree(authority.parent)


@asynccontextmanager
async def async_module_client() -> AsyncIterator[None]:
    """The clients that `use` makes close themselves when they are found, which needs their loop."""
    try:
        yield
    finally:
        gc.collect()
        await asyncio.sleep(0.005)


def _version() -> Any:
    return replicate.Version(**version_json(VERSION))


def _deprecated(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return function(*args, **kwargs)


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


async def _async_used(s: Situation, **options: Any) -> Any:
    return await early_use(MODEL, use_async=True, **options)(**s.input)


async def _async_awaited(s: Situation) -> Any:
    return await (await _async_used(s, streaming=True))


def _asked_for(create: str) -> str:
    """The model that a request of that name tells."""
    return {"models": MODEL, "deployments": DEPLOYMENT}.get(create.partition(".")[0], "")


async def _async_stream(s: Situation) -> Any:
    return await _deprecated(early_stream, MODEL, input=s.input, use_async=True)


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
_RUNS: dict[str, Ask] = {
    "run": lambda s: s.client.run(MODEL, input=s.input, **s.params),
    "run, plain output": lambda s: s.client.run(
        MODEL, input=s.input, use_file_output=False, **s.params
    ),
    "run, polled": lambda s: s.client.run(MODEL, input=s.input, wait=False, **s.params),
    "run, some seconds": lambda s: s.client.run(MODEL, input=s.input, wait=30, **s.params),
    "run by version": lambda s: s.client.run(f"{MODEL}:{VERSION}", input=s.input, **s.params),
    "run of a Model": lambda s: s.client.run(
        replicate.Model(OWNER, NAME), input=s.input, **s.params
    ),
}
_BLOCKING: Ask = lambda s: s.client.predictions.create(  # noqa: E731  # one row of the table
    version=VERSION, input=s.input, prefer="wait", **s.params
)
_NO_FILES = {"values that are not JSON": "`use` takes inputs only, and no strategy for files"}
_NO_STRATEGY = {
    "values that are not JSON": "of this version's two methods only one takes a strategy for files"
}
_NEVER_STARTED = dict.fromkeys(
    ("break", "close", "garbage-collected", "exception in the loop's body"),
    "this version's iterator raises at its first step, before any piece",
)
_QUEUED = Fault(queue_s=60)
_CANCELLED = dict.fromkeys(
    ("cancelled", "cancelled at the server", "failed at the server"),
    "it is cancelled before the model begins",
)


def _both(name: str, ask: Ask, **known: Any) -> tuple[Surface, Surface]:
    """A surface and its asynchronous twin, which has the same words."""
    return (
        Surface(name=f"Replicate.{name}", open=ask, **known),
        Surface(name=f"AsyncReplicate.{name}", open=ask, is_async=True, **known),
    )


RUNS = (
    *(each for name, ask in _RUNS.items() for each in _both(name, ask, shape="value")),
    *_both(
        "run of a Version",
        lambda s: s.client.run(_version(), input=s.input, **s.params),
        shape="stream",
        asks="",
    ),
    Surface(
        name="Replicate.run of a Version, polled",
        asks="",
        shape="stream",
        lacks=_NEVER_STARTED,
        open=lambda s: s.client.run(_version(), input=s.input, wait=False, **s.params),
    ),
    Surface(
        name="replicate.run, taken early",
        shape="value",
        open=lambda s: early_run(MODEL, input=s.input, **s.params),
    ),
)

USES = (
    Surface(
        name="replicate.use",
        shape="value",
        lacks=_NO_FILES,
        open=lambda s: early_use(MODEL)(**s.input),
    ),
    Surface(
        name="replicate.use of a version",
        shape="value",
        lacks=_NO_FILES,
        open=lambda s: replicate.use(f"{MODEL}:{VERSION}")(**s.input),
    ),
    Surface(
        name="replicate.use, streaming",
        shape="stream",
        live=True,
        lacks=_NO_FILES,
        open=lambda s: early_use(MODEL, streaming=True)(**s.input),
    ),
    Surface(
        name="replicate.use, streaming, as text",
        shape="value",
        lacks=_NO_FILES,
        open=lambda s: str(early_use(MODEL, streaming=True)(**s.input)),
    ),
    Surface(
        name="replicate.use, create, output",
        shape="handle",
        lacks=_NO_FILES,
        open=lambda s: early_use(MODEL).create(**s.input),
        finish=lambda _s, run: run.output(),
    ),
    Surface(
        name="replicate.use, asynchronous",
        shape="value",
        is_async=True,
        lacks=_NO_FILES,
        open=_async_used,
    ),
    Surface(
        name="replicate.use, asynchronous, streaming",
        shape="stream",
        is_async=True,
        live=True,
        lacks=_NO_FILES,
        open=lambda s: _async_used(s, streaming=True),
    ),
    Surface(
        name="replicate.use, asynchronous, streaming, awaited",
        shape="value",
        is_async=True,
        lacks=_NO_FILES,
        open=_async_awaited,
    ),
    Surface(
        name="replicate.stream",
        shape="stream",
        live=True,
        lacks=_NO_FILES,
        open=lambda s: _deprecated(early_stream, MODEL, input=s.input),
    ),
    Surface(
        name="Replicate.stream",
        shape="stream",
        live=True,
        lacks=_NO_FILES,
        open=lambda s: _deprecated(s.client.stream, MODEL, input=s.input),
    ),
    Surface(
        name="replicate.stream, asynchronous",
        shape="stream",
        is_async=True,
        live=True,
        lacks=_NO_FILES,
        open=_async_stream,
    ),
)

HANDLES = (
    *(
        each
        for name, create in _CREATES.items()
        for each in _both(
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
    *_both(
        "predictions.create, cancel",
        _CREATES["predictions.create"],
        shape="handle",
        asks="",
        fault=_QUEUED,
        lacks=_CANCELLED,
        finish=lambda s, p: s.client.predictions.cancel(prediction_id=p.id),
    ),
    *_both("predictions.create, blocking", _BLOCKING, shape="value", asks=""),
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

SURFACES = (*RUNS, *USES, *HANDLES)
