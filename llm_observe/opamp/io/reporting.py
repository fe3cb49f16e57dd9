"""What the program around a client says through it: the truth, at any time and from any thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from llm_observe.opamp.client import ClientProtocol
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentDescription,
    Components,
    ConfigFile,
    ConfigStatus,
    ConnectionStatus,
    Health,
)


class Reporting:
    """The caller's side of a protocol that another thread speaks for."""

    protocol: ClientProtocol
    # Guards the protocol; notified when anything about it changes.
    condition: threading.Condition

    @property
    def instance_uid(self) -> bytes:
        """The uid in use: the given one, or the one that the server assigned."""
        return self.protocol.instance_uid

    def report(
        self,
        *,
        description: AgentDescription | None = None,
        health: Health | None = None,
        effective_config: Mapping[str, ConfigFile] | None = None,
        config_status: ConfigStatus | None = None,
        components: Components | None = None,
        connection_status: ConnectionStatus | None = None,
        custom_capabilities: frozenset[str] | None = None,
    ) -> None:
        """Set parts of the status; what changed is sent as soon as a line stands.

        From any thread; never waits for the network. Raises as `ClientProtocol.report`.
        """
        parts = {
            "description": description,
            "health": health,
            "effective_config": effective_config,
            "config_status": config_status,
            "components": components,
            "connection_status": connection_status,
            "custom_capabilities": custom_capabilities,
        }
        given = {name: value for name, value in parts.items() if value is not None}
        with self.condition:
            if self.protocol.report(**given):
                self.condition.notify_all()

    def set_capabilities(self, capabilities: AgentCapabilities) -> None:
        """Change what the agent says it can do; it is told at once."""
        with self.condition:
            self.protocol.set_capabilities(capabilities)
            self.condition.notify_all()

    def send_custom(self, capability: str, type_: str, data: bytes) -> None:
        """Queue a custom message. Raises as `ClientProtocol.send_custom`."""
        with self.condition:
            self.protocol.send_custom(capability, type_, data)
            self.condition.notify_all()
