"""One HTTP POST at a time, over kept-alive connections that can be aborted.

urllib3 brings TLS, proxies and keep-alive. Redirects are not followed and nothing is retried:
both are the worker's decision. Heavy: loaded through `llm_observe.tracing.export.late`.
"""

from __future__ import annotations

import gzip
import os
import ssl
import threading
from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util.ssl_ import create_urllib3_context

from llm_observe.settings.model import Destination
from llm_observe.tracing.export.exchange import Exchange, SocketWire
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.http_errors import reason_of
from llm_observe.tracing.export.proxies import blame_proxy, proxy_of
from llm_observe.tracing.export.route import Route, route_to
from llm_observe.tracing.export.target import Signal, target_of
from llm_observe.tracing.export.tls import fill
from llm_observe.tracing.export.verdict import Answer

MAX_ANSWER_BYTES = 64 * 1024
"""How much of an answer's body is read; an OTLP answer has a few dozen bytes."""

_CONTENT = {"content-type": "application/x-protobuf", "user-agent": "llm-observe"}
_EFFORT = 3
"""Of gzip: spans repeat themselves, so the last fast level halves the CPU of the next one for a
fifth more of a body that is a fortieth of what it was."""
_ACTIVE = threading.local()


class _Watched:
    """A connection that shows its socket to the exchange before it sends the request."""

    def request(self, *args: Any, **kwargs: Any) -> None:
        connection: Any = self
        if connection.sock is None:
            connection.connect()
        sock = connection.sock  # TLS inside TLS (an https proxy) is wrapped once more
        _ACTIVE.exchange.opened(SocketWire(getattr(sock, "socket", sock)))
        super().request(*args, **kwargs)  # type: ignore[misc]  # mixed into urllib3's connections


class _Plain(_Watched, HTTPConnection):
    pass


class _Secure(_Watched, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class Transport:
    """The connections of one worker. Not for use by two threads at once."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._made: tuple[Route, urllib3.PoolManager] | None = None

    def post(
        self,
        destination: Destination,
        signal: Signal,
        body: bytes,
        headers: Mapping[str, str],
        exchange: Exchange,
    ) -> Answer:
        """Send one OTLP request and read its answer; never raises for what the network does.

        The destination's time limit bounds connecting and each wait for bytes; the whole is
        bounded by whoever watches the exchange's deadline.

        Raises:
            KeyFault: A key of the destination cannot be used. Nothing was sent.
        """
        url = target_of(destination).url(signal)
        route = route_to(url, destination, self._environ)
        sent = {**_CONTENT, **headers}
        if destination.compression == "gzip" and body:
            body, sent["content-encoding"] = gzip.compress(body, _EFFORT), "gzip"
        _ACTIVE.exchange = exchange
        try:
            return _exchange(self._manager(route), url, body, sent, destination.timeout_s)
        except KeyFault:
            raise
        except (HTTPError, OSError, ValueError) as error:
            if exchange.aborted:
                return Answer(0, "aborted")
            reason = reason_of(error, destination.timeout_s)
            return blame_proxy(Answer(0, reason), destination)
        finally:
            _ACTIVE.exchange = None
            exchange.close()

    def close(self) -> None:
        """Close all idle connections."""
        if self._made is not None:
            self._made[1].clear()
        self._made = None

    def _manager(self, route: Route) -> urllib3.PoolManager:
        if self._made is None or self._made[0] != route:
            self.close()
            self._made = route, _new_manager(route)
        return self._made[1]


def _new_manager(route: Route) -> urllib3.PoolManager:
    """Raises `KeyFault`."""
    proxy, headers = proxy_of(route)
    secure = route.secure or proxy.startswith("https:")
    context = _context(route) if secure else None
    options: dict[str, Any] = {"num_pools": 2, "maxsize": 1, "ssl_context": context}
    manager = (
        urllib3.ProxyManager(proxy, proxy_headers=headers, proxy_ssl_context=context, **options)
        if proxy
        else urllib3.PoolManager(**options)
    )
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
    return manager


def _context(route: Route) -> ssl.SSLContext:
    """Verified always."""
    context = create_urllib3_context()
    fill(context, route.certificates)
    return context


def _exchange(
    manager: urllib3.PoolManager,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float,
) -> Answer:
    response = manager.urlopen(
        "POST",
        url,
        body=body,
        headers=headers,
        timeout=urllib3.Timeout(total=timeout_s),
        retries=False,
        redirect=False,
        preload_content=False,
    )
    return _read(response)


def _read(response: urllib3.BaseHTTPResponse) -> Answer:
    try:
        body = response.read(MAX_ANSWER_BYTES)
        whole = not response.read(1)
    except BaseException:
        response.close()
        raise
    if whole:
        response.release_conn()
    else:
        response.close()
    return Answer(
        response.status,
        retry_after_s=_retry_after(response.headers.get("retry-after")),
        content_type=response.headers.get("content-type", ""),
        body=body,
    )


def _retry_after(value: str | None) -> float | None:
    """Seconds, from seconds or a date (RFC 9110, section 10.2.3)."""
    if not value:
        return None
    try:
        return urllib3.Retry().parse_retry_after(value)
    except (InvalidHeader, ValueError):
        return None
