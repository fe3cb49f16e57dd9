"""What a server wants of an agent, and puts into the messages to it until it has it.

A configuration, connection settings, an interval of heartbeats, a restart. Each is offered only to
an agent with the capability for it ("Agent Status Compression", "Connection Settings Management").
Hashes are compared, never states: what an agent refused is not sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

from google.protobuf.message import Message

from llm_observe.errors import LocalProtocolError
from llm_observe.opamp import codec, connections_codec, wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.asking import Asking
from llm_observe.opamp.connections import ConnectionOffer, unfit
from llm_observe.opamp.interning import Interned
from llm_observe.opamp.values import AgentCapabilities, AgentState, ConfigFile

ENVELOPE_BYTES = 1024
FIELD_BYTES = 64
"""Room for the tags and lengths around a part, and for small fields after it."""


def fits(message: Message, part: Message, limit: int) -> bool:
    """Whether a message stays within ``limit`` bytes with another part in it."""
    return message.ByteSize() + part.ByteSize() + FIELD_BYTES <= limit


class Wish(Protocol):
    """One thing wanted of an agent."""

    def is_news(self, state: AgentState) -> bool:
        """Whether it waits to be said, on a line that can push."""

    def is_open(self, state: AgentState) -> bool:
        """Whether it may have something to say, now or later; False is for idle agents."""

    def line_opened(self) -> None:
        """What was said on the former line may be lost."""

    def add(
        self, message: opamp_pb2.ServerToAgent, state: AgentState, now: float, limit: int
    ) -> None:
        """Put it into a message, where it is due and the message stays within ``limit`` bytes."""


class ConfigWish:
    """A remote configuration."""

    __slots__ = ("_asking", "_interned", "_limit", "_news", "_offer")

    def __init__(self, max_message_bytes: int, interned: Interned | None = None) -> None:
        self._limit = max_message_bytes
        self._interned = Interned() if interned is None else interned
        self._offer: opamp_pb2.AgentRemoteConfig | None = None
        self._asking = Asking()
        self._news = False

    def offer(self, files: Mapping[str, ConfigFile], config_hash: bytes) -> None:
        """Offer it until the agent reports its hash. Raises as `ServerProtocol.offer_config`."""
        if not config_hash:
            raise LocalProtocolError("an offer needs a hash")
        offer = self._encoded(files, config_hash)
        wire.check_size(offer.ByteSize() + ENVELOPE_BYTES, self._limit)
        if self._offer is None or self._offer.config_hash != config_hash:
            self._offer, self._news = offer, True
            self._asking.want(at_once=True)

    def _encoded(
        self, files: Mapping[str, ConfigFile], config_hash: bytes
    ) -> opamp_pb2.AgentRemoteConfig:
        """What is offered to many agents is encoded once."""

        def encode() -> opamp_pb2.AgentRemoteConfig:
            config = codec.files_to_pb(files)
            return opamp_pb2.AgentRemoteConfig(config=config, config_hash=config_hash)

        size = sum(len(file.body) for file in files.values())
        key = (config_hash, *sorted(files.items()))
        return self._interned.value("offer", key, encode, size=size)

    def clear(self) -> None:
        """Offer nothing any more."""
        self._offer, self._news = None, False

    def line_opened(self) -> None:
        """Offer it on the new line as well."""
        self._asking.want(at_once=True)

    def is_news(self, state: AgentState) -> bool:
        """See `Wish`."""
        return self._news and self._may(state)

    def is_open(self, state: AgentState) -> bool:
        """See `Wish`."""
        return self._may(state)

    def _may(self, state: AgentState) -> bool:
        status = state.config_status
        return (
            self._offer is not None
            and AgentCapabilities.ACCEPTS_REMOTE_CONFIG in state.capabilities
            and (status is None or status.hash != self._offer.config_hash)
        )

    def add(
        self, message: opamp_pb2.ServerToAgent, state: AgentState, now: float, limit: int
    ) -> None:
        """See `Wish`."""
        if self._offer is None or not self._may(state) or not self._asking.is_due(now):
            return
        if not fits(message, self._offer, limit):
            return  # it stays news, and has the next message
        message.remote_config.CopyFrom(self._offer)
        self._news = False
        self._asking.asked(now)
        if AgentCapabilities.REPORTS_REMOTE_CONFIG not in state.capabilities:
            self._asking.wanted = False  # it will never say that it has it: once a line


class ConnectionWish:
    """Connection settings, with the interval of heartbeats among them."""

    __slots__ = ("_asking", "_beat_news", "_heartbeat_s", "_limit", "_news", "_offer", "beats")

    def __init__(self, heartbeat_s: float | None, max_message_bytes: int) -> None:
        self._limit = max_message_bytes
        self._offer: ConnectionOffer | None = None
        self._asking = Asking()
        self._news = False
        self._heartbeat_s = heartbeat_s
        # Whether the agent was told on this line how often to send heartbeats.
        self.beats = False
        self._beat_news = False

    def offer(self, offer: ConnectionOffer) -> None:
        """Offer it until the agent reports its hash. Raises as `ServerProtocol`."""
        if not offer.hash:
            raise LocalProtocolError("an offer needs a hash")
        problem = unfit(offer)
        if problem:
            raise LocalProtocolError(problem)
        pb = connections_codec.offer_to_pb(offer)
        wire.check_size(pb.ByteSize() + ENVELOPE_BYTES, self._limit)
        if self._offer is None or self._offer.hash != offer.hash:
            self._offer, self._news = offer, True
            self._asking.want(at_once=True)

    def clear(self) -> None:
        """Offer nothing any more; the agent keeps what it took."""
        self._offer, self._news = None, False

    def beat_every(self, seconds: float | None) -> None:
        """Tell another interval of heartbeats; None tells none."""
        self._heartbeat_s = seconds
        self.beats, self._beat_news = False, seconds is not None

    def line_opened(self) -> None:
        """Offer it, and tell the interval, on the new line as well."""
        self._asking.want(at_once=True)
        self.beats = False

    def is_news(self, state: AgentState) -> bool:
        """See `Wish`."""
        return (self._news and self._wanted(state) is not None) or (
            self._beat_news and self._may_tell_beat(state)
        )

    def is_open(self, state: AgentState) -> bool:
        """See `Wish`."""
        return self._wanted(state) is not None or self._may_tell_beat(state)

    def _wanted(self, state: AgentState) -> ConnectionOffer | None:
        """The parts of the offer that this agent can take and has not taken."""
        if self._offer is None:
            return None
        status = state.connection_status
        if status is not None and status.hash == self._offer.hash:
            return None
        return connections_codec.allowed(self._offer, state.capabilities)

    def add(
        self, message: opamp_pb2.ServerToAgent, state: AgentState, now: float, limit: int
    ) -> None:
        """See `Wish`."""
        wanted = self._wanted(state)
        if wanted is not None and self._asking.is_due(now):
            self._add_offer(message, connections_codec.offer_to_pb(wanted), now, limit)
            if AgentCapabilities.REPORTS_CONNECTION_SETTINGS_STATUS not in state.capabilities:
                self._asking.wanted = self._news  # it will never say that it has it: once a line
        self._add_beat(message, state)

    def _add_offer(
        self,
        message: opamp_pb2.ServerToAgent,
        offer: opamp_pb2.ConnectionSettingsOffers,
        now: float,
        limit: int,
    ) -> None:
        if fits(message, offer, limit):
            message.connection_settings.CopyFrom(offer)
            self._news = False
            self._asking.asked(now)

    def _may_tell_beat(self, state: AgentState) -> bool:
        """Not to an agent that would take an offer without an address for a new connection."""
        return (
            self._heartbeat_s is not None
            and not self.beats
            and AgentCapabilities.REPORTS_HEARTBEAT in state.capabilities
            and AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS not in state.capabilities
        )

    def _add_beat(self, message: opamp_pb2.ServerToAgent, state: AgentState) -> None:
        if self._heartbeat_s is None or not self._may_tell_beat(state):
            return
        seconds = max(1, round(self._heartbeat_s))
        offers = message.connection_settings
        offers.hash = offers.hash or hashlib.sha256(f"heartbeat {seconds}".encode()).digest()
        offers.opamp.heartbeat_interval_seconds = seconds
        self.beats, self._beat_news = True, False


class CapabilitiesWish:
    """The server's own custom capabilities: told once a line, and when they change."""

    __slots__ = ("_told", "capabilities")

    def __init__(self, capabilities: frozenset[str]) -> None:
        self.capabilities = capabilities
        self._told = not capabilities

    def announce(self, capabilities: frozenset[str]) -> None:
        """Announce others; the newest list replaces the former."""
        self._told &= capabilities == self.capabilities
        self.capabilities = capabilities

    def line_opened(self) -> None:
        """The agent on the new line may not have heard."""
        self._told = not self.capabilities

    def is_news(self, state: AgentState) -> bool:
        """See `Wish`."""
        return not self._told

    def is_open(self, state: AgentState) -> bool:
        """See `Wish`."""
        return not self._told

    def add(
        self, message: opamp_pb2.ServerToAgent, state: AgentState, now: float, limit: int
    ) -> None:
        """See `Wish`."""
        if not self._told:
            message.custom_capabilities.CopyFrom(codec.custom_to_pb(self.capabilities))
            self._told = True
