"""Why a request over HTTP failed, in words that hold nothing of what was sent."""

from __future__ import annotations

import re
from http.client import BadStatusLine

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from llm_observe.tracing.export.verdict import Answer, explain

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (ProxyError, "the proxy failed: {cause}"),
    (NameResolutionError, "the host name cannot be resolved"),
    (ReadTimeoutError, "no answer within {timeout:g} s"),
    (SSLError, "TLS failed: {cause}"),
    (NewConnectionError, "connection failed: {cause}"),  # a kind of time-out, to urllib3
    (ConnectTimeoutError, "no connection within {timeout:g} s"),
    (HTTPError, "the connection broke"),
    (OSError, "{cause}"),
)


_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b")
_OTHER_PROTOCOL = "the other side does not speak HTTP/1 (is it a port for gRPC?)"


def reason_of(error: Exception, timeout_s: float) -> str:
    """One short line for people."""
    if any(type(each) is BadStatusLine for each in error.args):  # its subclass: nothing was said
        return _OTHER_PROTOCOL
    template = next((text for kind, text in _REASONS if isinstance(error, kind)), "{kind}")
    return template.format(timeout=timeout_s, cause=_cause(error), kind=type(error).__name__)


def _cause(error: BaseException) -> str:
    """The operating system's or OpenSSL's own words, which never hold what we sent."""
    link: BaseException | None = error
    while link is not None:
        if tunnel := _TUNNEL.match(str(link)):
            return explain(Answer(int(tunnel[1])))
        words = getattr(link, "verify_message", None) or getattr(link, "strerror", None)
        if words:
            return str(words).lower()
        nested = next((arg for arg in link.args if isinstance(arg, BaseException)), None)
        link = nested or link.__cause__ or link.__context__
    return type(error).__name__
