"""One HTTP POST at a time, over kept-alive connections that can be aborted.

urllib3 brings TLS, proxies and keep-alive. Redirects are not followed and nothing is retried:
both are the worker's decision. Heavy: loaded through `llm_observe.tracing.export.late`.
"""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Mapping
from http.client import BadStatusLine
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from llm_observe.settings.model import Destination
from llm_observe.tracing.export.exchange import Exchange, SocketWire
from llm_observe.tracing.export.target import LOOPBACK, Signal, target_of
from llm_observe.tracing.export.tls import certificates, system_has_store
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
        self._managers: dict[str, urllib3.PoolManager] = {}

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
        """
        sent = {**_CONTENT, **headers}
        if destination.compression == "gzip" and body:
            body, sent["content-encoding"] = gzip.compress(body, _EFFORT), "gzip"
        _ACTIVE.exchange = exchange
        try:
            url = target_of(destination).url(signal)
            return self._exchange(url, body, sent, destination.timeout_s)
        except (HTTPError, OSError, ValueError) as error:
            reason = _reason(error, destination.timeout_s)
            return Answer(0, "aborted" if exchange.aborted else reason)
        finally:
            _ACTIVE.exchange = None
            exchange.close()

    def close(self) -> None:
        """Close all idle connections."""
        for manager in self._managers.values():
            manager.clear()

    def _exchange(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        response = self._manager(url).urlopen(
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

    def _manager(self, url: str) -> urllib3.PoolManager:
        proxy = _proxy_for(url)
        if proxy not in self._managers:
            self._managers[proxy] = self._new_manager(proxy)
        return self._managers[proxy]

    def _new_manager(self, proxy: str) -> urllib3.PoolManager:
        options = {"num_pools": 2, "maxsize": 1, **_tls(self._environ)}
        manager = (
            urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
        )
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
        return manager


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


def _proxy_for(url: str) -> str:
    """The proxy that the environment names for this URL; none for loopback, whatever it names."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return ""
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all") or ""


def _tls(environ: Mapping[str, str]) -> dict[str, Any]:
    """Verified always; CA and client certificate as the OpenTelemetry variables name them."""
    named = certificates(environ)
    usual = None if system_has_store() else certifi.where()
    found = {
        "ca_certs": named.authorities or usual,
        "cert_file": named.certificate,
        "key_file": named.key,
    }
    return {"cert_reqs": "CERT_REQUIRED", **{key: value for key, value in found.items() if value}}


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (ProxyError, "the proxy failed"),
    (NameResolutionError, "the host name cannot be resolved"),
    (ReadTimeoutError, "no answer within {timeout:g} s"),
    (SSLError, "TLS failed: {cause}"),
    (NewConnectionError, "connection failed: {cause}"),  # a kind of time-out, to urllib3
    (ConnectTimeoutError, "no connection within {timeout:g} s"),
    (HTTPError, "the connection broke"),
    (OSError, "{cause}"),
)


_OTHER_PROTOCOL = "the other side does not speak HTTP/1 (is it a port for gRPC?)"


def _reason(error: Exception, timeout_s: float) -> str:
    if any(type(each) is BadStatusLine for each in error.args):  # its subclass: nothing was said
        return _OTHER_PROTOCOL
    template = next((text for kind, text in _REASONS if isinstance(error, kind)), "{kind}")
    return template.format(timeout=timeout_s, cause=_cause(error), kind=type(error).__name__)


def _cause(error: BaseException) -> str:
    """The operating system's or OpenSSL's own words, which never hold what we sent."""
    link: BaseException | None = error
    while link is not None:
        words = getattr(link, "verify_message", None) or getattr(link, "strerror", None)
        if words:
            return str(words).lower()
        nested = next((arg for arg in link.args if isinstance(arg, BaseException)), None)
        link = nested or link.__cause__ or link.__context__
    return type(error).__name__
