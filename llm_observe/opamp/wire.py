"""Bytes and messages: the header of a WebSocket message, protobuf, the size limit.

Over a WebSocket each message is a varint header, at present always 0, before the protobuf bytes
(OpAMP, "WebSocket Message Format"). Over plain HTTP the body is the protobuf bytes alone.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from llm_observe.errors import MalformedMessage, MessageTooLarge
from llm_observe.opamp._pb import opamp_pb2

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The default limit of both directions (OpAMP, "Message Size Limits")."""

MAX_HEADER_BYTES = 10
"""The longest encoding of a 64-bit varint; over-long zeros are legal."""

HEADER = b"\x00"

M = TypeVar("M", bound=Message)


def add_header(payload: bytes) -> bytes:
    """A WebSocket message around protobuf bytes."""
    return HEADER + payload


def strip_header(data: bytes) -> bytes:
    """The protobuf bytes of a WebSocket message; `MalformedMessage` where the header is not 0."""
    if data[:1] == HEADER:  # as nearly everybody writes it
        return data[1:]
    for position, byte in enumerate(data[:MAX_HEADER_BYTES]):
        if byte & 0x7F:
            raise MalformedMessage("the message's header is not 0")
        if not byte & 0x80:
            return data[position + 1 :]
    raise MalformedMessage("the message's header does not end")


def check_size(size: int, limit: int) -> None:
    """Raise `MessageTooLarge` beyond the limit. Sizes count the header, and inflated bytes."""
    if size > limit:
        raise MessageTooLarge(size, limit)


def encode(message: Message, *, framed: bool, limit: int = MAX_MESSAGE_BYTES) -> bytes:
    """The bytes to send; `MessageTooLarge` instead of what the peer would refuse."""
    payload = message.SerializeToString(deterministic=True)
    data = add_header(payload) if framed else payload
    check_size(len(data), limit)
    return data


def decode(data: bytes, kind: type[M], *, framed: bool, limit: int = MAX_MESSAGE_BYTES) -> M:
    """The message in some bytes. Raises `MessageTooLarge` or `MalformedMessage`."""
    check_size(len(data), limit)
    payload = strip_header(data) if framed else data
    message = kind()
    try:
        message.ParseFromString(payload)
    except DecodeError:  # its text may quote the bytes
        raise MalformedMessage("not a protobuf message of the expected kind") from None
    return message


def decode_agent(
    data: bytes, *, framed: bool, limit: int = MAX_MESSAGE_BYTES
) -> opamp_pb2.AgentToServer:
    """What an agent sent."""
    return decode(data, opamp_pb2.AgentToServer, framed=framed, limit=limit)


def decode_server(
    data: bytes, *, framed: bool, limit: int = MAX_MESSAGE_BYTES
) -> opamp_pb2.ServerToAgent:
    """What a server sent."""
    return decode(data, opamp_pb2.ServerToAgent, framed=framed, limit=limit)


def describe(message: opamp_pb2.AgentToServer | opamp_pb2.ServerToAgent) -> str:
    """The names of the fields a message carries, for logs: never their contents."""
    return " ".join(field.name for field, _ in message.ListFields())
