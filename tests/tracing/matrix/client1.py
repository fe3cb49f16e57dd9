"""The surfaces of `replicate` 1.x, all of them.

What makes no prediction (models, files, trainings, `predictions.get` and `list` of predictions
made elsewhere) is no call to a model and has no span.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.tracing.matrix.connect1 import (
    async_client,
    async_module_client,
    client,
    module_client,
)
from tests.tracing.matrix.creates1 import HANDLES, VERSION, async_created, created
from tests.tracing.matrix.table import MODEL, Situation, Surface

# Taken before anything is wrapped, as an app may do.
from replicate import async_run as early_async_run  # isort: skip
from replicate import run as early_run  # isort: skip
from replicate import stream as early_stream  # isort: skip

__all__ = ["SURFACES", "async_client", "async_module_client", "client", "module_client"]

REFERENCE = f"{MODEL}:{VERSION}"
POLLS = hasattr(sys.modules["replicate.run"], "_make_output_iterator")
"""The first 1.x clients did not ask to wait by themselves, and iterated while polling."""


async def _async_run(s: Situation, reference: Any = MODEL, **more: Any) -> Any:
    return await s.client.async_run(reference, input=s.input, **more, **s.params)


async def _async_iterated(s: Situation) -> Any:
    return (await async_created(s)).async_output_iterator()


async def _async_streamed(s: Situation) -> Any:
    return (await async_created(s)).async_stream()


async def _async_stream(s: Situation) -> Any:
    return await s.client.async_stream(MODEL, input=s.input, **s.params)


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
        live=POLLS,
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
        live=POLLS,
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
        live=POLLS,
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
        open=lambda s: created(s).stream(),
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
        open=lambda s: created(s).output_iterator(),
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

SURFACES = (*RUNS, *STREAMS, *HANDLES)
