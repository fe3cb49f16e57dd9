from __future__ import annotations

from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given

from llm_observe.spanstore import wire
from tests.spanstore.build import any_value, attribute_maps, pairs, values


@given(values)
def test_an_attribute_value_comes_back_as_it_was(value: Any) -> None:
    assert wire.plain(any_value(value)) == value


@given(attribute_maps)
def test_attributes_come_back_as_they_were(attributes: dict[str, Any]) -> None:
    assert wire.attributes(pairs(attributes)) == attributes


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("application/json; charset=utf-8", wire.JSON),
        (" Application/X-Protobuf ", wire.PROTOBUF),
        ("", ""),
    ],
)
def test_a_media_type_is_read_without_its_parameters(said: str, meant: str) -> None:
    assert wire.media_type(said) == meant


def test_an_answer_is_encoded_as_the_request_was() -> None:
    status = Status(code=3, message="no")
    assert wire.encode(status, "application/json") == b'{"code": 3, "message": "no"}'
    assert Status.FromString(wire.encode(status, wire.PROTOBUF)) == status
