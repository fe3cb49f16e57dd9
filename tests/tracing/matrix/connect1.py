"""Clients of `replicate` 1.x for one case each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import replicate
from replicate.client import Client

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
