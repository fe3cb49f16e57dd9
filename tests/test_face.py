"""The front door: it names everything that is public, and loads nothing before it is used."""

import subprocess
import sys

import pytest

import llm_observe


def loaded_by(statement: str) -> set[str]:
    """Top-level packages outside the standard library that a statement loads."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    tops = {name.partition(".")[0] for name in output.stdout.split()}
    return tops - set(sys.stdlib_module_names)


def test_every_public_name_is_there_and_listed() -> None:
    assert sorted(llm_observe.__all__) == llm_observe.__all__ == dir(llm_observe)
    for name in llm_observe.__all__:
        assert getattr(llm_observe, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'obserf'"):
        _ = llm_observe.obserf


def test_importing_the_package_loads_nothing_else() -> None:
    assert loaded_by("import llm_observe") == {"llm_observe"}


def test_the_protocol_comes_without_opentelemetry_and_without_pydantic() -> None:
    loaded = loaded_by("import llm_observe.opamp.io.websocket, llm_observe.opamp.io.asgi")
    assert loaded == {"llm_observe", "google", "websockets", "google_upb"} & loaded | {
        "llm_observe"
    }
    assert not loaded & {"opentelemetry", "pydantic", "yaml", "httpx"}


def test_observing_loads_neither_validation_nor_exporters_on_the_callers_thread() -> None:
    loaded = loaded_by("import llm_observe; llm_observe.observe")
    assert not loaded & {"pydantic", "requests", "grpc", "websockets", "httpx"}
