from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.processes.world")

from tests.processes.world import World, a_world  # noqa: E402  # rewritten from here on


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The wide variants run where everything is asked for: ``LLM_OBSERVE_FULL=1``."""
    if os.environ.get("LLM_OBSERVE_FULL"):
        return
    skip = pytest.mark.skip(reason="a wide variant; LLM_OBSERVE_FULL=1 runs it")
    for item in items:
        if item.get_closest_marker("wide"):
            item.add_marker(skip)
