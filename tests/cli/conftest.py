"""One real control plane for the tests of a file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.cli.plane import serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("plane")) as address:
        yield address


@pytest.fixture
def addressed(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the server by the environment."""
    monkeypatch.setenv("LLM_OBSERVE_SERVER", server)
    monkeypatch.delenv("LLM_OBSERVE_ADMIN_TOKEN", raising=False)


@pytest.fixture
def service() -> str:
    """A name of its own for each test, so that none sees the others' settings."""
    return f"shop-{uuid.uuid4().hex[:8]}"
