"""The generated code is what the .proto files say, without protoc at hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llm_observe.opamp._pb import anyvalue_pb2, opamp_pb2

ROOT = Path(__file__).resolve().parents[2] / "proto"
FIELD = re.compile(r"^\s*(?:repeated )?(map<string, \w+>|\w+) (\w+) = (\d+);", re.MULTILINE)
BLOCK = re.compile(r"^(message|enum) (\w+) \{(\}|.*?\n\})$", re.MULTILINE | re.DOTALL)
VALUE = re.compile(r"^\s*(\w+) = (\w+);", re.MULTILINE)
MODULES = {"opamp/v1/anyvalue.proto": anyvalue_pb2, "opamp/v1/opamp.proto": opamp_pb2}


def described(field: Any) -> str:
    """A field's type as the .proto spells it."""
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return f"map<string, {described(message.fields_by_name['value'])}>"
    if message is not None:
        return str(message.name)
    if field.enum_type is not None:
        return str(field.enum_type.name)
    return {1: "double", 3: "int64", 4: "uint64", 6: "fixed64", 8: "bool", 9: "string"}.get(
        field.type, "bytes"
    )


def written(text: str) -> dict[str, dict[str, Any]]:
    plain = re.sub(r"//.*", "", text)
    found: dict[str, dict[str, Any]] = {}
    for kind, name, body in BLOCK.findall(plain):
        if kind == "message":
            found[name] = {field: (type_, int(n)) for type_, field, n in FIELD.findall(body)}
        else:
            found[name] = {value: int(number, 0) for value, number in VALUE.findall(body)}
    return found


def generated(descriptor: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        name: {field.name: (described(field), field.number) for field in message.fields}
        for name, message in descriptor.message_types_by_name.items()
    }
    for name, enum in descriptor.enum_types_by_name.items():
        found[name] = {value.name: value.number for value in enum.values}
    return found


@pytest.mark.parametrize("name", MODULES)
def test_generated_code_is_what_the_proto_file_says(name: str) -> None:
    descriptor = MODULES[name].DESCRIPTOR
    text = (ROOT / name).read_text()
    assert generated(descriptor) == written(text)
    assert (descriptor.name, descriptor.package) == (name, "opamp.proto.v1")


def test_every_message_of_the_specification_is_there() -> None:
    assert len(opamp_pb2.DESCRIPTOR.message_types_by_name) == 37
    assert len(opamp_pb2.DESCRIPTOR.enum_types_by_name) == 10
