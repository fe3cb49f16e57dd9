"""The line to the control plane: which OpAMP client serves which URL.

| URL | transport |
| --- | --- |
| ``ws://``, ``wss://`` | WebSocket: offers arrive when they are made |
| ``http://``, ``https://`` | plain HTTP: offers arrive with the next poll |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from llm_observe.opamp import (
    AgentCapabilities,
    AgentDescription,
    Components,
    ConfigFile,
    ConfigStatus,
    Health,
    events,
)
from llm_observe.tracing.export import late
from llm_observe.tracing.export.quiet import quiet

CAPABILITIES = (
    AgentCapabilities.REPORTS_STATUS
    | AgentCapabilities.ACCEPTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG
    | AgentCapabilities.REPORTS_HEALTH
    | AgentCapabilities.REPORTS_HEARTBEAT
    | AgentCapabilities.REPORTS_AVAILABLE_COMPONENTS
)
"""What this agent can do; nothing that it cannot."""

_POLLING = ("llm_observe.opamp.io.polling", "PollingClient")
_WEBSOCKET = ("llm_observe.opamp.io.websocket", "WebSocketClient")
_CLIENTS = {"http": _POLLING, "https": _POLLING, "ws": _WEBSOCKET, "wss": _WEBSOCKET}


class LinkState(Protocol):
    """How the connection stands."""

    @property
    def connected(self) -> bool:
        """A line stands, or the newest poll was answered."""

    @property
    def last_error(self) -> str:
        """The newest trouble, kept after it is over."""


class Link(Protocol):
    """What the agent wants of an OpAMP client. No method waits for the network but ``stop``."""

    @property
    def state(self) -> LinkState:
        """How the connection stands now."""

    def start(self) -> None:
        """Begin to connect."""

    def report(
        self,
        *,
        description: AgentDescription | None = None,
        health: Health | None = None,
        effective_config: Mapping[str, ConfigFile] | None = None,
        config_status: ConfigStatus | None = None,
        components: Components | None = None,
    ) -> None:
        """Set parts of the status; what changed is sent as soon as possible."""

    def stop(self, timeout_s: float = 2.0) -> None:
        """Say goodbye and end."""

    def let_go(self) -> None:
        """In a forked child: drop what belongs to the parent."""


Hear = Callable[[events.ClientEvent], None]
MakeLink = Callable[[bytes, Hear], Link]
"""A client for an instance uid that hands its events to the given function."""


def dialling(url: str, token: str | None) -> MakeLink:
    """Clients for this URL; the token travels in a header, never in the URL."""
    module, name = _CLIENTS[url.partition(":")[0]]
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    def make(instance_uid: bytes, hear: Hear) -> Link:
        client: Any = getattr(late.load(module), name)
        link: Link = client(url, instance_uid, CAPABILITIES, hear, headers=headers, around=quiet)
        return link

    return make
