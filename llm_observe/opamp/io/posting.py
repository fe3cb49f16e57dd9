"""One OpAMP message as an HTTP request: what goes out, what comes back, and what a failure means.

OpAMP says little about statuses other than 200 ("Plain HTTP Transport"). The policy here:

==================  ===============================================================================
413, 400            refused for good: the message is not sent again ("MUST NOT retry" after 413)
415                 once more without gzip if it was gzipped; else as 404
429, 503            not processed: wait as long as Retry-After says, or at least `BUSY_S`
3xx                 not followed: it would take the headers, with a token in them, elsewhere
401, 403, 404, …    not processed: wait with the backoff, and ask for the headers anew
500, 502, 504, …    may have been processed: the same message again, after the backoff
no answer           likewise; where no connection came about, certainly not processed
==================  ===============================================================================
"""

from __future__ import annotations

import importlib
import ssl
import time
import urllib.request
from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llm_observe.errors import MalformedMessage, MessageTooLarge
from llm_observe.opamp.io.bodies import WORTH_COMPRESSING, Inflater, compress, media_type
from llm_observe.opamp.io.dialing import (
    STATUS,
    http_url,
    is_loopback,
    redirected,
    retry_after,
    with_scheme,
)
from llm_observe.opamp.io.driver import Headers
from llm_observe.uids import uid_text

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

CONTENT_TYPE = "application/x-protobuf"

BUSY_S = 30.0
"""The shortest wait after 429 or 503 without a hint ("Throttling › Plain HTTP": 30 seconds)."""

CONNECT_S = 10.0
ANSWER_S = 30.0
"""How long an answer may take, from the request to its last byte."""

CHUNK_BYTES = 64 * 1024
_ACCEPTED_TYPES = ("", CONTENT_TYPE, "application/octet-stream")


class Fate(Enum):
    """What became of a message that was not answered properly."""

    UNSENT = auto()
    """The server certainly did not process it."""
    UNKNOWN = auto()
    """Perhaps it did: only the very same message may go out next."""
    REFUSED = auto()
    """It must not be sent again."""


class Failed(Exception):  # it is an outcome, not an error of ours
    """A request without a proper answer. ``text`` is for people: no header, no content."""

    def __init__(self, text: str, fate: Fate, retry_after_s: float | None = None) -> None:
        self.text, self.fate, self.retry_after_s = text, fate, retry_after_s
        super().__init__(text)


_FATES = {
    400: Fate.REFUSED,
    413: Fate.REFUSED,
    429: Fate.UNSENT,
    503: Fate.UNSENT,
}


def fate_of(status: int) -> Fate:
    """Whether a message that was answered by a status may have been processed."""
    return _FATES.get(status, Fate.UNSENT if status < 500 else Fate.UNKNOWN)


class Poster:
    """Posts messages to one address over one kept connection. For one thread.

    ``headers`` may be a function, asked for each request. Without a ``proxy`` those of the
    environment count, except for this machine.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Headers = {},  # noqa: B006  # never written to
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        proxy_headers: Mapping[str, str] = {},  # never written to
        max_message_bytes: int,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.url = http_url(url)
        self._headers = headers
        self._ssl_context = ssl_context
        self._proxy = proxy and with_scheme(proxy)
        self._proxy_headers = proxy_headers
        self._limit = max_message_bytes
        self._answer_s = answer_s
        self._pool: PoolManager | None = None
        # False as soon as the server has shown that it does not take gzip.
        self._gzip = True

    def post(self, uid: bytes, data: bytes, *, within_s: float | None = None) -> bytes:
        """The body of the answer, inflated. Raises `Failed`."""
        deadline = time.monotonic() + min(within_s or self._answer_s, self._answer_s)
        try:
            return self._answer(uid, data, deadline)
        except Failed:
            raise
        except (MalformedMessage, MessageTooLarge) as error:
            raise Failed(f"the server's answer: {error}", Fate.UNKNOWN) from None
        except Exception as error:  # noqa: BLE001  # names, TLS, proxies, the caller's headers
            raise _failure(error) from None

    def close(self) -> None:
        """Close the kept connection."""
        if self._pool is not None:
            self._pool.clear()

    def let_go(self) -> None:
        """In the child of a fork: the parent keeps its connection, this process its own."""
        self._pool = None

    def _answer(self, uid: bytes, data: bytes, deadline: float) -> bytes:
        response = self._request(uid, data, deadline)
        try:
            if response.status == 415 and self._gzip:
                self._gzip = False
                response.close()
                response = self._request(uid, data, deadline)
            if response.status != 200:
                raise _refusal(response)
            return self._read(response, deadline)
        finally:
            response.close()  # nothing, where the body was read and the connection is kept

    def _request(self, uid: bytes, data: bytes, deadline: float) -> BaseHTTPResponse:
        pool = self._pool = self._pool or self._make_pool()
        given = self._headers() if callable(self._headers) else self._headers
        gzipped = self._gzip and len(data) >= WORTH_COMPRESSING
        left_s = max(0.001, deadline - time.monotonic())
        return pool.request(
            "POST",
            self.url,
            body=compress(data) if gzipped else data,
            headers={**given, **_own_headers(uid, gzipped=gzipped)},
            timeout=_urllib3().Timeout(connect=min(CONNECT_S, left_s), read=left_s),
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )

    def _make_pool(self) -> PoolManager:
        secure = self.url.startswith("https:")
        context = (self._ssl_context or ssl.create_default_context()) if secure else None
        options = {"num_pools": 1, "maxsize": 1, "ssl_context": context}
        proxy = self._proxy or _environments_proxy(self.url)
        if proxy is None:
            plain: PoolManager = _urllib3().PoolManager(**options)
            return plain
        headers = {**_authorization(proxy), **self._proxy_headers}
        made: PoolManager = _urllib3().ProxyManager(proxy, proxy_headers=headers, **options)
        return made

    def _read(self, response: BaseHTTPResponse, deadline: float) -> bytes:
        kind = media_type(response.headers.get("Content-Type", ""))
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if kind not in _ACCEPTED_TYPES or coding not in ("gzip", "identity"):
            raise Failed("what answers there is no OpAMP server", Fate.UNKNOWN)
        inflater = Inflater(gzipped=coding == "gzip", limit=self._limit)
        while chunk := response.read1(CHUNK_BYTES):
            inflater.feed(chunk)
            if time.monotonic() > deadline:
                raise Failed("the server did not answer in time", Fate.UNKNOWN)
        response.release_conn()
        return inflater.finish()


def _own_headers(uid: bytes, *, gzipped: bool) -> dict[str, str]:
    headers = {
        "Content-Type": CONTENT_TYPE,
        "Accept-Encoding": "gzip",
        "OpAMP-Instance-UID": uid_text(uid),
        "User-Agent": "llm-observe-opamp",
    }
    return {**headers, "Content-Encoding": "gzip"} if gzipped else headers


def _urllib3() -> Any:
    return importlib.import_module("urllib3")  # on the client's thread, and only where it polls


def _environments_proxy(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    parts = urlsplit(url)
    if is_loopback(url) or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _authorization(proxy: str) -> Mapping[str, str]:
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    pair = f"{parts.username}:{parts.password or ''}"
    headers: Mapping[str, str] = _urllib3().make_headers(proxy_basic_auth=pair)
    return headers


def _refusal(response: BaseHTTPResponse) -> Failed:
    status = response.status
    text = STATUS.get(status, f"the server answered {status}")
    if 300 <= status < 400:
        text = redirected(status)
    hint = retry_after(response.headers, time.time())
    if status in (429, 503) and hint is None:
        hint = BUSY_S
    return Failed(text, fate_of(status), hint)


# By the names of urllib3's exceptions, most particular first: it may not be imported yet.
_REASONS: dict[str, tuple[str, Fate]] = {
    "NameResolutionError": ("the server's name is not known", Fate.UNSENT),
    "ConnectTimeoutError": ("the server did not answer in time", Fate.UNSENT),
    "NewConnectionError": ("cannot reach the server", Fate.UNSENT),
    "ReadTimeoutError": ("the server did not answer in time", Fate.UNKNOWN),
    "ProtocolError": ("the connection broke", Fate.UNKNOWN),
    "SSLError": ("TLS failed", Fate.UNSENT),
    "ProxyError": ("the proxy failed", Fate.UNSENT),
}


def _failure(error: BaseException) -> Failed:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            untrusted = f"the server's certificate is not trusted: {cause.verify_message}"
            return Failed(untrusted, Fate.UNSENT)
    for kind in type(error).__mro__:
        if kind.__name__ in _REASONS:
            return Failed(*_REASONS[kind.__name__])
    return Failed(f"cannot connect ({type(error).__name__})", Fate.UNSENT)


def _causes(error: BaseException) -> list[object]:
    return [error, error.__cause__, error.__context__, *error.args]
