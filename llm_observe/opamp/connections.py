"""Where an agent shall connect to: the settings that a server offers, as frozen values.

All of OpAMP's classes of connections share one shape here ("OpAMPConnectionSettings",
"TelemetryConnectionSettings", "OtherConnectionSettings"). None means: not told, keep what there
is. Nothing that may hold a credential shows in a repr.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """How TLS is done (OpAMP, "TLSConnectionSettings").

    Without ``ca_pem`` the platform's authorities count, never just any.
    """

    ca_pem: str = field(default="", repr=False)
    include_system_pool: bool = False
    insecure_skip_verify: bool = False
    min_version: str = ""
    max_version: str = ""
    cipher_suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Through what to connect (OpAMP, "ProxyConnectionSettings")."""

    url: str = field(default="", repr=False)
    connect_headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class ConnectionSettings:
    """One destination.

    ``certificate`` says that a client certificate came along. ``heartbeat_s`` belongs to the
    OpAMP connection alone, ``other`` to other connections.
    """

    endpoint: str = ""
    headers: Mapping[str, str] | None = None
    tls: TLSSettings | None = None
    proxy: ProxySettings | None = None
    certificate: bool = False
    heartbeat_s: int = 0
    other: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Scheme, host and port; whether there is more, never what."""
        return f"ConnectionSettings({origin(self.endpoint)!r}, {', '.join(self._told())})"

    def _told(self) -> Iterator[str]:
        for name in ("headers", "tls", "proxy"):
            if getattr(self, name) is not None:
                yield name


_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(?:[^/?#]*@)?([^/?#@]*)", re.IGNORECASE)


def origin(url: str) -> str:
    """Scheme, host and port of a URL: all of it that a log may show."""
    found = _ORIGIN.match(url)
    return f"{found[1]}://{found[2]}".lower() if found else ""


@dataclass(frozen=True, slots=True)
class ConnectionOffer:
    """Everything a server offers at once (OpAMP, "ConnectionSettingsOffers").

    ``hash`` covers all of it, and what was left out as well.
    """

    hash: bytes
    opamp: ConnectionSettings | None = None
    own_metrics: ConnectionSettings | None = None
    own_traces: ConnectionSettings | None = None
    own_logs: ConnectionSettings | None = None
    other: Mapping[str, ConnectionSettings] = field(default_factory=dict)


_OPAMP = re.compile(r"(?:wss?|https?)://[^/?#\s]+[^\s]*", re.IGNORECASE)
_OWN = re.compile(r"https?://[^/?#\s]+/[^\s]+", re.IGNORECASE)


def unfit(offer: ConnectionOffer) -> str:
    """Why a server must not make this offer; empty if it may. Nothing of it is quoted.

    An OpAMP connection needs a URL of one of the two transports, own telemetry the full OTLP/HTTP URL
    of its signal ("OpAMPConnectionSettings", "TelemetryConnectionSettings"). Own telemetry without
    any withdraws what was offered before.
    """
    if offer.opamp is not None and not _OPAMP.fullmatch(offer.opamp.endpoint):
        return "an OpAMP connection needs a ws, wss, http or https URL"
    for name in ("own_metrics", "own_traces", "own_logs"):
        own: ConnectionSettings | None = getattr(offer, name)
        if own is not None and own.endpoint and not _OWN.fullmatch(own.endpoint):
            return f"{name} needs the full http or https URL of its signal, with the path"
    for settings in (offer.opamp, offer.own_metrics, offer.own_traces, offer.own_logs):
        if settings is not None and settings.proxy is not None and not settings.proxy.url:
            return "a proxy needs a URL, or a host and port"
    return ""
