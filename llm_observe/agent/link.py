"""The line to the control plane, and how far the control plane may move it.

| URL | transport |
| --- | --- |
| ``ws://``, ``wss://`` | WebSocket: offers arrive when they are made |
| ``http://``, ``https://`` | plain HTTP: offers arrive with the next poll |

Another connection that the control plane offers is taken where the program's environment lets it
(``LLM_OBSERVE_OPAMP_CONNECTION_OFFERS=on``), and only to hosts that telemetry may be sent to: who
has stolen a control plane must not get beyond the local limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from llm_observe.agent import receivers
from llm_observe.agent.lastgood import LastGood
from llm_observe.agent.options import Options
from llm_observe.opamp import (
    AgentCapabilities,
    AgentDescription,
    Components,
    ConfigFile,
    ConfigStatus,
    Health,
    Rules,
    events,
)
from llm_observe.settings.layers import host_allowed
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
    | AgentCapabilities.REPORTS_CONNECTION_SETTINGS_STATUS
)
"""What this agent can do; nothing that it cannot."""

_CLIENT = "llm_observe.opamp.io.client"
_RECORD = "connection.json"


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

    def settle(self, settings_hash: bytes, errors: Mapping[str, str] | None = None) -> None:
        """Say what became of the offer of own telemetry with this hash."""

    def stop(self, timeout_s: float = 2.0) -> None:
        """Say goodbye and end."""

    def let_go(self) -> None:
        """In a forked child: drop what belongs to the parent."""


Hear = Callable[[events.ClientEvent], None]
MakeLink = Callable[[bytes, Hear], Link]
"""A client for an instance uid that hands its events to the given function."""


class Store:
    """Where the client keeps an offered connection. Implements `llm_observe.opamp.OfferStore`."""

    def __init__(self, lastgood: LastGood) -> None:
        self._lastgood = lastgood

    def load(self) -> bytes | None:
        """See `OfferStore`."""
        return self._lastgood.record(_RECORD)

    def save(self, data: bytes) -> None:
        """See `OfferStore`."""
        self._lastgood.keep_record(_RECORD, data)


def capabilities(options: Options) -> AgentCapabilities:
    """What this agent can do here; nothing that it may not."""
    can = CAPABILITIES
    if options.connection_offers:
        can |= AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS
    if receivers.may_be_offered(options.limits):
        can |= AgentCapabilities.REPORTS_OWN_TRACES | AgentCapabilities.REPORTS_OWN_METRICS
    return can


def rules(options: Options) -> Rules:
    """Where an offered connection may lead: to the program's own host, or within its limits."""
    own = _host(options.opamp_url or "")

    def allows(url: str) -> bool:
        host = _host(url)
        known = bool(host) and (host == own or host_allowed(host, options.limits))
        return options.connection_offers and known

    return Rules(allows=allows)


def dialling(url: str, options: Options, lastgood: LastGood) -> MakeLink:
    """Clients for this URL; the token travels in a header, never in the URL."""
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}

    def make(instance_uid: bytes, hear: Hear) -> Link:
        client: Any = late.load(_CLIENT)
        link: Link = client.OpAMPClient(
            url,
            instance_uid,
            capabilities(options),
            hear,
            headers=headers,
            store=Store(lastgood),
            rules=rules(options),
            around=quiet,
        )
        return link

    return make


def _host(url: str) -> str:
    """The host of a URL, or of a proxy's bare address; empty where there is none."""
    try:
        return urlsplit(url if "://" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""
