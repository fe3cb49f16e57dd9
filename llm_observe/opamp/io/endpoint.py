"""Where and how to connect, and the transport for it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from llm_observe.opamp.connections import ConnectionSettings, origin
from llm_observe.opamp.io.driver import Headers, Transport
from llm_observe.opamp.io.polling import PollingTransport
from llm_observe.opamp.io.posting import Poster
from llm_observe.opamp.io.tls import make_context
from llm_observe.opamp.io.websocket import WebSocketTransport


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to connect. ``proxy`` None is what the environment says."""

    url: str
    headers: Headers = field(default_factory=dict, repr=False)
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    proxy_headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def transport_for(endpoint: Endpoint, *, ping_s: float, max_message_bytes: int) -> Transport:
    """A WebSocket for ws and wss, polling for http and https. Raises `ValueError`."""
    if endpoint.url.lower().startswith(("http://", "https://")):
        return PollingTransport(
            Poster(
                endpoint.url,
                headers=endpoint.headers,
                ssl_context=endpoint.ssl_context,
                proxy=endpoint.proxy,
                proxy_headers=endpoint.proxy_headers,
                max_message_bytes=max_message_bytes,
            )
        )
    return WebSocketTransport(
        endpoint.url,
        headers=endpoint.headers,
        ssl_context=endpoint.ssl_context,
        proxy=endpoint.proxy,
        ping_s=ping_s,
    )


def combined(base: Endpoint, settings: ConnectionSettings | None) -> Endpoint:
    """The endpoint that offered settings mean, where the program was started with ``base``.

    Headers of the program go only to the scheme, host and port that it gave them for. Raises
    `ValueError` for TLS settings that cannot be had.
    """
    if settings is None:
        return base
    headers: Headers = {}
    if settings.headers is not None:
        headers = settings.headers
    elif origin(settings.endpoint) == origin(base.url):
        headers = base.headers
    endpoint = replace(base, url=settings.endpoint, headers=headers)
    if settings.tls is not None:
        endpoint = replace(endpoint, ssl_context=make_context(settings.tls))
    if settings.proxy is not None:
        proxy = settings.proxy
        endpoint = replace(endpoint, proxy=proxy.url, proxy_headers=proxy.connect_headers)
    return endpoint
