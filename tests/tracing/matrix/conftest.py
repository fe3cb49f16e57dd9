from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.tracing.matrix.clients import surfaces
from tests.tracing.matrix.world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ExitStack() as stack:
        yield World(surfaces(), stack)
