from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from llm_observe.testing import FakeReplicate, ScriptedEngine, serve_in_thread
from tests.e2e.harness import App, ControlPlane


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    control = ControlPlane(tmp_path / "data").start()
    yield control
    control.stop()


@pytest.fixture(scope="session")
def replicate_url() -> Iterator[str]:
    with serve_in_thread(FakeReplicate(ScriptedEngine())) as served:
        yield served.url


@pytest.fixture
def start_app(tmp_path: Path, replicate_url: str) -> Iterator[Callable[..., App]]:
    with ExitStack() as stack:

        def start(environ: dict[str, str] | None = None, **observe: Any) -> App:
            app = App(
                replicate_url,
                {"LLM_OBSERVE_STATE_DIR": str(tmp_path / "state"), **(environ or {})},
                **observe,
            )
            stack.callback(app.close)
            return app

        yield start
