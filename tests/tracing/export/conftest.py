"""Fixtures of the export tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tracing.export.sink import Sink, running_sink


@pytest.fixture
def sink() -> Iterator[Sink]:
    with running_sink() as sink:
        yield sink
