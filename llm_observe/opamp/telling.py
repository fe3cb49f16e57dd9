"""What an agent has to tell: the calls of `ClientProtocol` that only note what is true."""

from __future__ import annotations

from typing import Any

from llm_observe.opamp import wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.custom import CustomQueue
from llm_observe.opamp.heard import Heard
from llm_observe.opamp.parts import BY_NAME, Outbox
from llm_observe.opamp.values import AgentCapabilities, ServerCapabilities

ENVELOPE_BYTES = 256
"""Room for uid, number, capabilities and flags around the parts of a message."""

_STATUSES = {"config_status", "connection_status"}


def defined(capabilities: AgentCapabilities) -> AgentCapabilities:
    """With the bit that MUST be set, and without those that nobody has defined."""
    return AgentCapabilities.from_wire(int(capabilities)) | AgentCapabilities.REPORTS_STATUS


class Telling:
    """The truth of one agent, and what it knows of its server. Nothing here sends."""

    capabilities: AgentCapabilities
    max_message_bytes: int
    _custom: CustomQueue
    _custom_capabilities: frozenset[str]
    _heard: Heard
    _must_speak: bool
    _outbox: Outbox

    def report(self, **parts: Any) -> bool:
        """Set parts of the status, by their names in `AgentState`; True if any of them changed.

        All or none: raises `TypeError` or `ValueError` for a value that cannot be sent, and
        `MessageTooLarge` for a part beyond the size limit.
        """
        unknown = parts.keys() - BY_NAME.keys()
        if unknown:
            raise TypeError(f"no such part of the status: {', '.join(sorted(unknown))}")
        encoded = {name: BY_NAME[name].to_pb(value) for name, value in parts.items()}
        for message in encoded.values():
            wire.check_size(message.ByteSize() + ENVELOPE_BYTES, self.max_message_bytes)
        for name in _STATUSES & parts.keys():
            self._heard.reported(name, parts[name].hash)
        self._custom_capabilities = parts.get("custom_capabilities", self._custom_capabilities)
        changed = [self._outbox.report(name, message) for name, message in encoded.items()]
        return any(changed)

    def set_capabilities(self, capabilities: AgentCapabilities) -> None:
        """Change what this agent says it can do; the next message tells."""
        capabilities = defined(capabilities)
        gained = capabilities & ~self.capabilities
        self._must_speak |= capabilities != self.capabilities
        self.capabilities = capabilities
        self._outbox.regained(gained)

    def send_custom(self, capability: str, type_: str, data: bytes) -> None:
        """Queue one custom message; each takes a message of its own and none replaces another.

        Raises `LocalProtocolError` if the server never announced the capability, or if
        `MAX_CUSTOM_MESSAGES` already wait.
        """
        message = opamp_pb2.CustomMessage(capability=capability, type=type_, data=data)
        self._custom.put("server", self.server_custom_capabilities, message)

    @property
    def server_capabilities(self) -> ServerCapabilities:
        """What the server can do; 0 until it has said so, and some never do."""
        return self._heard.capabilities

    @property
    def server_custom_capabilities(self) -> frozenset[str]:
        """The custom capabilities that the server announced."""
        return self._heard.custom_capabilities
