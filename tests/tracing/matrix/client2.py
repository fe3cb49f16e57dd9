"""The surfaces of `replicate` 2.x (2.0.0b4), all of them.

`Client.use` is not among them: in this version it raises for any argument; `replicate.use` works.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from llm_observe.testing.catalogue import version_json
from tests.tracing.matrix.connect2 import (
    async_client,
    async_module_client,
    client,
    module_client,
    replicate,
)
from tests.tracing.matrix.creates2 import HANDLES, NAME, OWNER, VERSION, Ask, both
from tests.tracing.matrix.table import MODEL, Situation, Surface

__all__ = ["SURFACES", "async_client", "async_module_client", "client", "module_client"]

# Taken before anything is wrapped, as an app may do.
early_run, early_use, early_stream = replicate.run, replicate.use, replicate.stream


def _version() -> Any:
    return replicate.Version(**version_json(VERSION))


def _deprecated(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return function(*args, **kwargs)


async def _async_used(s: Situation, **options: Any) -> Any:
    return await early_use(MODEL, use_async=True, **options)(**s.input)


async def _async_awaited(s: Situation) -> Any:
    return await (await _async_used(s, streaming=True))


async def _async_stream(s: Situation) -> Any:
    return await _deprecated(early_stream, MODEL, input=s.input, use_async=True)


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
_NO_FILES = {"values that are not JSON": "`use` takes inputs only, and no strategy for files"}
_NEVER_STARTED = dict.fromkeys(
    ("break", "close", "garbage-collected", "exception in the loop's body"),
    "this version's iterator raises at its first step, before any piece",
)
RUNS = (
    *(each for name, ask in _RUNS.items() for each in both(name, ask, shape="value")),
    *both(
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
        live=True,
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
        live=True,
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

SURFACES = (*RUNS, *USES, *HANDLES)
