"""How a destination is reached: through which proxy, under whose certificates.

Read anew for each request, so a certificate or a token that was renewed counts from the next one
on; a transport keeps its connections for as long as the route is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from llm_observe.settings.model import Destination
from llm_observe.settings.places import DIRECT
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.headers import read_reference
from llm_observe.tracing.export.tls import Certificates, Stamps, certificates, stamps

_NONE = Certificates(None, None, None)
_TLS_KEYS = ("ca", "client_certificate", "client_key")


class Route(NamedTuple):
    """Two equal routes may share a connection."""

    url: str
    """``scheme://host:port`` of the endpoint."""
    proxy: str
    """URL of the proxy, `DIRECT`, or nothing: as the environment says."""
    authorization: str
    """What the proxy is told."""
    certificates: Certificates
    stamps: Stamps

    def __repr__(self) -> str:
        return f"Route({self.url!r}, {self.proxy!r})"

    @property
    def secure(self) -> bool:
        """Whether there is TLS on it, to the endpoint or to the proxy."""
        return "https" in {urlsplit(self.url).scheme, urlsplit(self.proxy).scheme}

    @property
    def named_proxy(self) -> str:
        """The proxy that the settings name; none where they name `DIRECT` or nothing."""
        return "" if self.proxy == DIRECT else self.proxy


def route_to(url: str, destination: Destination, environ: Mapping[str, str]) -> Route:
    """The way to a URL of a destination.

    Raises:
        KeyFault: A key of the destination that cannot be used.
    """
    parts = urlsplit(url)
    secure = "https" in {parts.scheme, urlsplit(destination.proxy).scheme}
    named = certificates(destination, environ) if secure else _no_certificates(destination)
    authorization = _authorization(destination, environ)
    place = f"{parts.scheme}://{parts.netloc}"
    return Route(place, destination.proxy, authorization, named, stamps(named))


def _no_certificates(destination: Destination) -> Certificates:
    for key in _TLS_KEYS:
        if getattr(destination, key):
            raise KeyFault((key,), "an endpoint without TLS", "one with https")
    return _NONE


def _authorization(destination: Destination, environ: Mapping[str, str]) -> str:
    reference = destination.proxy_authorization
    if not reference:
        return ""
    if destination.proxy in {"", DIRECT}:
        raise KeyFault(("proxy_authorization",), "no proxy", "a URL as proxy")
    return read_reference(("proxy_authorization",), reference, environ)
