from __future__ import annotations

import subprocess
import sys

import pytest

import llm_observe.opamp as face


def loaded_by(module: str) -> set[str]:
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_protocol_loads_no_opentelemetry_and_nothing_that_does_io() -> None:
    loaded = loaded_by("llm_observe.opamp")
    assert "google" in loaded
    assert not loaded & {"opentelemetry", "websockets", "urllib3", "pydantic", "asyncio"}


@pytest.mark.parametrize("driver", ["websocket", "asgi", "memory"])
def test_neither_do_the_drivers_load_opentelemetry_or_a_web_framework(driver: str) -> None:
    loaded = loaded_by(f"llm_observe.opamp.io.{driver}")
    assert not loaded & {"opentelemetry", "starlette", "fastapi", "uvicorn", "pydantic"}


def test_every_public_name_is_there() -> None:
    assert all(hasattr(face, name) for name in face.__all__)
    assert len(set(face.__all__)) == len(face.__all__)
