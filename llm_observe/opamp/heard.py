"""What an agent has heard from its server: what the server can do, and which offers are news.

A server repeats its offers until the agent answers, and after each reconnection; each is handed on
once, until another one comes (OpAMP, "AgentRemoteConfig.config_hash").
"""

from __future__ import annotations

from collections.abc import Iterator

from llm_observe.opamp import codec, connections_codec, events
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.connections import ConnectionOffer
from llm_observe.opamp.values import AgentCapabilities, ServerCapabilities


class Heard:
    """The agent's memory of its server."""

    def __init__(self) -> None:
        # 0 until the server has said what it can do; some never do.
        self.capabilities = ServerCapabilities(0)
        self.custom_capabilities: frozenset[str] = frozenset()
        # The newest offers handed on, and the hashes last reported: neither is news.
        self._seen: dict[str, bytes] = {}
        self._reported: dict[str, bytes] = {}

    def reported(self, status: str, answered: bytes) -> None:
        """The agent reports that it took, or refused, the offer with this hash."""
        self._reported[status] = answered

    def reborn(self) -> Heard:
        """The memory of a new agent with the same truth."""
        child = Heard()
        child._reported = dict(self._reported)
        return child

    def forget_server(self) -> None:
        """The next line may lead to another server."""
        self.capabilities = ServerCapabilities(0)
        self.custom_capabilities = frozenset()

    def _is_news(self, status: str, offered: bytes) -> bool:
        if offered in (self._seen.get(status), self._reported.get(status)):
            return False
        self._seen[status] = offered
        return True

    # ------------------------------------------------------------------------- parts of a message

    def read_capabilities(self, message: opamp_pb2.ServerToAgent) -> Iterator[events.ClientEvent]:
        """What the server says it can do; 0 is: as before."""
        said = ServerCapabilities.from_wire(message.capabilities)
        if said and said != self.capabilities:
            self.capabilities = said
            yield events.ServerCapabilitiesChanged(said)

    def read_config(
        self, message: opamp_pb2.ServerToAgent, can: AgentCapabilities
    ) -> Iterator[events.ClientEvent]:
        """An offered configuration, to an agent that takes it."""
        offer = message.remote_config
        offered = message.HasField("remote_config") and offer.HasField("config")
        if not offered or AgentCapabilities.ACCEPTS_REMOTE_CONFIG not in can:
            return
        files = codec.files_from_pb(offer.config)
        if not offer.config_hash:
            yield events.Malformed("a remote configuration without a hash")
        elif self._is_news("config_status", offer.config_hash):
            yield events.ConfigOffered(files, offer.config_hash)

    def read_connections(
        self, message: opamp_pb2.ServerToAgent, can: AgentCapabilities
    ) -> Iterator[events.ClientEvent]:
        """Offered connections, as far as the agent takes them."""
        if not message.HasField("connection_settings"):
            return
        told = connections_codec.offer_from_pb(message.connection_settings)
        says = AgentCapabilities.REPORTS_CONNECTION_SETTINGS_STATUS in can
        left = connections_codec.left_out(told, can) if says else frozenset()
        offer = connections_codec.allowed(told, can) or ConnectionOffer(told.hash)
        if offer == ConnectionOffer(told.hash) and not left:
            return
        if not offer.hash:
            yield events.Malformed("connection settings without a hash")
        elif self._is_news("connection_status", offer.hash):
            yield events.ConnectionSettingsOffered(offer, left)

    def read_custom(
        self, message: opamp_pb2.ServerToAgent, announced: frozenset[str]
    ) -> Iterator[events.ClientEvent]:
        """The server's custom capabilities, and a message of one that the agent announced."""
        if message.HasField("custom_capabilities"):
            said = codec.custom_from_pb(message.custom_capabilities)
            if said != self.custom_capabilities:
                self.custom_capabilities = said
                yield events.CustomCapabilitiesChanged(said)
        custom = message.custom_message
        # "MAY ignore" what was never announced; supporting a capability is supporting all of it.
        if message.HasField("custom_message") and custom.capability in announced:
            yield events.CustomMessageReceived(custom.capability, custom.type, custom.data)
