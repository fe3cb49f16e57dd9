"""Headers from references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.settings.model import Destination
from llm_observe.tracing.export import headers
from llm_observe.tracing.export.faults import KeyFault

SECRET = "s3cr3t-value"


def resolve(
    references: Mapping[str, str], environ: Mapping[str, str], protocol: Any = "http/protobuf"
) -> dict[str, str]:
    return headers.resolve(Destination(headers=references, protocol=protocol), environ)


def test_a_variable_is_read_when_it_is_needed() -> None:
    environ = {"TOKEN": "Bearer one"}
    assert resolve({"Authorization": "env:TOKEN"}, environ) == {"authorization": "Bearer one"}
    environ["TOKEN"] = "Bearer two"
    assert resolve({"Authorization": "env:TOKEN"}, environ) == {"authorization": "Bearer two"}


def test_one_entry_of_a_list_is_read_and_decoded() -> None:
    environ = {"H": "api-key=a%20b, Authorization=Basic%20eDp5PQ== ,empty="}
    found = resolve({"x-key": "env:H#api-key", "authorization": "env:H#authorization"}, environ)
    assert found == {"x-key": "a b", "authorization": "Basic eDp5PQ=="}


def test_a_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    assert resolve({"x": f"file:{file}"}, {}) == {"x": SECRET}
    file.write_text("rotated")
    assert resolve({"x": f"file:{file}"}, {}) == {"x": "rotated"}


@pytest.mark.parametrize(
    ("header", "reference"),
    [
        ("x", "env:MISSING"),
        ("x", "env:EMPTY"),
        ("x", "env:LIST#absent"),
        ("x", "env:LIST#empty"),
        ("x", "env:BROKEN"),
        ("x", "file:/nowhere/at/all"),
        ("x", "literal"),
        ("bad name", "env:GOOD"),
        ("bad\r\nname", "env:GOOD"),
        ("Content-Length", "env:GOOD"),
        ("host", "env:GOOD"),
    ],
)
def test_what_cannot_be_a_header_is_an_error_that_names_the_header(
    header: str, reference: str
) -> None:
    environ = {
        "EMPTY": "  ",
        "LIST": f"other={SECRET},empty=",
        "BROKEN": f"{SECRET}\r\nx: y",
        "GOOD": SECRET,
    }
    with pytest.raises(KeyFault) as caught:
        resolve({header: reference}, environ)
    assert caught.value.key == ("headers", header)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["grpc-timeout", "trace-bin", "te", "User-Agent", "a!b", "content-type", "a b"]
)
def test_names_that_grpc_keeps_for_itself_or_does_not_know_are_refused(name: str) -> None:
    with pytest.raises(KeyFault) as caught:
        resolve({name: "env:GOOD"}, {"GOOD": SECRET}, "grpc")
    assert caught.value.key == ("headers", name)


def test_grpc_gets_lower_case_names(tmp_path: Path) -> None:
    found = resolve({"X-Api_Key.1": "env:GOOD"}, {"GOOD": SECRET}, "grpc")
    assert found == {"x-api_key.1": SECRET}


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"x" * 100_000)
    with pytest.raises(KeyFault, match="over 65536 bytes"):
        resolve({"x": f"file:{file}"}, {})


@given(st.text(max_size=40))
def test_no_value_can_break_out_of_its_header(text: str) -> None:
    try:
        found = resolve({"x": "env:V"}, {"V": text})
    except KeyFault:
        return
    assert found["x"].isprintable()
    assert found["x"].isascii()
