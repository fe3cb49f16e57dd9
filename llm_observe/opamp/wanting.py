"""What a server's user may want of an agent: the calls of `ServerProtocol` that only note a wish."""

from __future__ import annotations

from collections.abc import Mapping

from llm_observe.errors import LocalProtocolError
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.asking import Asking
from llm_observe.opamp.connections import ConnectionOffer
from llm_observe.opamp.custom import CustomQueue
from llm_observe.opamp.values import AgentCapabilities, AgentState, ConfigFile
from llm_observe.opamp.wishes import CapabilitiesWish, ConfigWish, ConnectionWish


class Wanting:
    """The wishes of one conversation, and how they come about. Nothing here sends."""

    __slots__ = (
        "_announced",
        "_config",
        "_connections",
        "_custom",
        "_full",
        "_full_is_news",
        "_restart",
    )

    _announced: CapabilitiesWish
    _config: ConfigWish
    _connections: ConnectionWish
    _custom: CustomQueue
    _full: Asking
    _full_is_news: bool
    _restart: bool
    _state: AgentState

    def offer_config(self, files: Mapping[str, ConfigFile], config_hash: bytes) -> None:
        """Offer a configuration until the agent reports its hash, or another one is offered.

        Raises `LocalProtocolError` without a hash, and `MessageTooLarge` beyond the size limit.
        """
        self._config.offer(files, config_hash)

    def clear_offer(self) -> None:
        """Offer no configuration any more. What the agent already took stays in force there."""
        self._config.clear()

    def offer_connections(self, offer: ConnectionOffer) -> None:
        """Offer connection settings until the agent reports their hash, or others are offered.

        Each part goes only to an agent with the capability for it. Offer the complete settings:
        what is left out is kept by the agent, but a client certificate is not. Raises
        `LocalProtocolError` without a hash or an OpAMP endpoint, and `MessageTooLarge`.
        """
        self._connections.offer(offer)

    def clear_connections(self) -> None:
        """Offer no connection settings any more."""
        self._connections.clear()

    def beat_every(self, seconds: float | None) -> None:
        """Tell the agent another interval of heartbeats, in seconds; None leaves it to the agent."""
        self._connections.beat_every(seconds)

    def announce(self, custom_capabilities: frozenset[str]) -> None:
        """Announce the server's custom capabilities; the newest list replaces the former."""
        self._announced.announce(custom_capabilities)

    def ask_for_everything(self) -> None:
        """Ask the agent for a full report ("ReportFullState")."""
        self._full.want(at_once=True)
        self._full_is_news = True

    def restart(self) -> None:
        """Command the agent to restart, once; whether it did shows in its health's start time.

        Raises `LocalProtocolError` for an agent that does not accept the command.
        """
        if AgentCapabilities.ACCEPTS_RESTART_COMMAND not in self._state.capabilities:
            raise LocalProtocolError("the agent does not accept the command to restart")
        self._restart = True

    def send_custom(self, capability: str, type_: str, data: bytes) -> None:
        """Queue one custom message. Raises `LocalProtocolError` where the agent has no use for it."""
        message = opamp_pb2.CustomMessage(capability=capability, type=type_, data=data)
        self._custom.put("agent", self._state.custom_capabilities or (), message)
