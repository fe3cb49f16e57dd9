"""The wrapper on the real client, with a recorder that keeps what it is given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tracing.doubles import KeepingRecorder, instrumented


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    kept = KeepingRecorder()
    with instrumented(kept):
        yield kept


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
