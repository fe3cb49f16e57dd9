"""Custom messages waiting for their turn: in order, bounded, never merged (OpAMP, "CustomMessage").

A message of the protocol carries at most one, and none replaces another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from llm_observe.errors import LocalProtocolError
from llm_observe.opamp import wire
from llm_observe.opamp._pb import opamp_pb2

MAX_CUSTOM_MESSAGES = 100
ENVELOPE_BYTES = 1024
"""Room around a custom message for what else its message carries."""


class CustomQueue:
    """What waits, and what was sent and not acknowledged."""

    __slots__ = ("_in_flight", "_limit", "_waiting")

    def __init__(self, max_message_bytes: int) -> None:
        self._limit = max_message_bytes
        # Made with the first message: a server has a queue for each of many agents.
        self._waiting: deque[opamp_pb2.CustomMessage] | None = None
        self._in_flight: list[opamp_pb2.CustomMessage] = []

    def __len__(self) -> int:
        return len(self._waiting or ())

    def put(self, peer: str, announced: Collection[str], message: opamp_pb2.CustomMessage) -> None:
        """Queue a message for a peer that announced its capability.

        Raises `LocalProtocolError` for another capability, or where `MAX_CUSTOM_MESSAGES` wait:
        try again when some have left. Raises `MessageTooLarge` beyond the size limit.
        """
        if message.capability not in announced:
            raise LocalProtocolError(f"the {peer} does not support {message.capability!r}")
        if len(self) >= MAX_CUSTOM_MESSAGES:
            raise LocalProtocolError(f"{MAX_CUSTOM_MESSAGES} custom messages already wait")
        wire.check_size(message.ByteSize() + ENVELOPE_BYTES, self._limit)
        self._waiting = deque() if self._waiting is None else self._waiting
        self._waiting.append(message)

    def take(self, room: int) -> opamp_pb2.CustomMessage | None:
        """The next message if it has room; it is in flight from now on."""
        if not self._waiting or self._waiting[0].ByteSize() > room:
            return None
        self._in_flight.append(self._waiting.popleft())
        return self._in_flight[-1]

    def acknowledged(self) -> None:
        """What was in flight has arrived, or must not be sent again."""
        self._in_flight.clear()

    def lost(self) -> None:
        """What was in flight may not have arrived: it goes first."""
        if self._in_flight:
            self._waiting = deque([*self._in_flight, *(self._waiting or ())])
        self._in_flight.clear()
