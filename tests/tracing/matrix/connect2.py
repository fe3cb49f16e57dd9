"""Clients of `replicate` 2.x for one case each."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import certifi

replicate: Any = importlib.import_module("replicate")
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
