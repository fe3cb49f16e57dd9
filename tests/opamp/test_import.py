from __future__ import annotations

import subprocess
import sys

import pytest

import llm_observe.opamp as face


def loaded_by(module: str) -> set[str]:
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_face_loads_nothing_until_a_name_is_used() -> None:
    assert not loaded_by("llm_observe.opamp") & {"google", "websockets", "urllib3", "asyncio"}


def test_the_protocol_loads_no_opentelemetry_and_nothing_that_does_io() -> None:
    loaded = loaded_by("llm_observe.opamp.client, llm_observe.opamp.server")
    assert "google" in loaded
    assert not loaded & {"opentelemetry", "websockets", "urllib3", "pydantic", "asyncio"}


def test_a_client_loads_the_http_library_only_when_it_polls() -> None:
    assert "urllib3" not in loaded_by("llm_observe.opamp.io.client")


@pytest.mark.parametrize("driver", ["websocket", "polling", "client", "asgi", "memory"])
def test_neither_do_the_drivers_load_opentelemetry_or_a_web_framework(driver: str) -> None:
    loaded = loaded_by(f"llm_observe.opamp.io.{driver}")
    assert not loaded & {"opentelemetry", "starlette", "fastapi", "uvicorn", "pydantic"}


def test_every_public_name_is_there() -> None:
    assert all(hasattr(face, name) for name in face.__all__)
    assert dir(face) == sorted(set(face.__all__))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = face.nonsense
