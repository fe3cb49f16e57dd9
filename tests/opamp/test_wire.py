from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.errors import MalformedMessage, MessageTooLarge, RemoteProtocolError
from llm_observe.opamp import wire
from llm_observe.opamp._pb import opamp_pb2


@pytest.mark.opamp("W-04", "W-05")
@pytest.mark.parametrize("header", [b"\x00", b"\x80\x00", b"\x80" * 9 + b"\x00"])
def test_a_zero_header_of_any_length_is_stripped(header: bytes) -> None:
    assert wire.strip_header(header + b"body") == b"body"


@pytest.mark.opamp("W-06")
def test_a_message_of_a_header_alone_is_empty() -> None:
    assert wire.decode_agent(b"\x00", framed=True) == opamp_pb2.AgentToServer()


@pytest.mark.opamp("W-03")
@pytest.mark.parametrize("header", [b"", b"\x01", b"\x80\x01", b"\x80", b"\x80" * 10 + b"\x00"])
def test_any_other_header_is_malformed(header: bytes) -> None:
    with pytest.raises(MalformedMessage):
        wire.strip_header(header)


@pytest.mark.opamp("W-02")
def test_a_message_survives_the_trip_with_and_without_header() -> None:
    message = opamp_pb2.ServerToAgent(instance_uid=b"u" * 16, flags=1)
    for framed in (True, False):
        data = wire.encode(message, framed=framed)
        assert wire.decode_server(data, framed=framed) == message


@pytest.mark.opamp("L-01")
def test_the_limit_counts_the_header() -> None:
    message = opamp_pb2.AgentToServer(instance_uid=b"u" * 16)
    size = message.ByteSize() + 1
    data = wire.encode(message, framed=True, limit=size)
    assert wire.decode_agent(data, framed=True, limit=size) == message
    with pytest.raises(MessageTooLarge, match=f"{size} bytes is over the limit of {size - 1}"):
        wire.encode(message, framed=True, limit=size - 1)
    with pytest.raises(MessageTooLarge):
        wire.decode_agent(data, framed=True, limit=size - 1)


def test_what_is_no_protobuf_is_malformed_and_not_quoted() -> None:
    with pytest.raises(MalformedMessage) as caught:
        wire.decode_agent(b"\x00\x0asecret", framed=True)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.opamp("T-06")
def test_unknown_fields_are_skipped() -> None:
    later = opamp_pb2.AgentToServer(instance_uid=b"u" * 16).SerializeToString()
    later += b"\xfa\x3f\x03new"  # field 1023, length-delimited
    assert wire.decode_agent(later, framed=False).instance_uid == b"u" * 16


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=50, deadline=None)
def test_no_bytes_raise_anything_else(data: bytes, framed: bool) -> None:
    for decode in (wire.decode_agent, wire.decode_server):
        try:
            decode(data, framed=framed)
        except RemoteProtocolError:
            continue


def test_a_description_for_logs_names_fields_and_no_contents() -> None:
    message = opamp_pb2.AgentToServer(instance_uid=b"secret-secret-16")
    message.health.last_error = "secret"
    assert wire.describe(message) == "instance_uid health"
