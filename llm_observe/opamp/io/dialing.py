"""Where to dial, and what to say when it fails: rules of both transports without a socket."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit, urlunsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

DEFAULT_PATH = "/v1/opamp"

_WEBSOCKET = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_HTTP = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

STATUS = {
    400: "the server calls a message malformed (400)",
    401: "the server wants a valid token (401)",
    403: "the server forbids this agent (403)",
    404: "the server has no OpAMP at this path (404)",
    405: "the server takes no OpAMP over plain HTTP at this path (405)",
    408: "the server waited too long for the request (408)",
    413: "a message is too large for the server (413)",
    415: "the server takes no OpAMP over plain HTTP at this path (415)",
    429: "the server asks to slow down (429)",
    503: "the server is busy (503)",
}


def websocket_url(url: str) -> str:
    """The ws or wss URL for a server's address; a missing path is `DEFAULT_PATH`.

    Raises `ValueError` for anything else than ws, wss, http or https with a host, and for
    credentials inside the URL: they belong in a header.
    """
    return _address(url, _WEBSOCKET)


def http_url(url: str) -> str:
    """The http or https URL for a server's address. Raises as `websocket_url`."""
    return _address(url, _HTTP)


def _address(url: str, schemes: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError("the OpAMP server's address must be a ws, wss, http or https URL")
    if parts.username or parts.password:
        raise ValueError("credentials in the OpAMP server's address; send them as a header")
    path = DEFAULT_PATH if parts.path in ("", "/") else parts.path
    return urlunsplit(SplitResult(schemes[parts.scheme], parts.netloc, path, parts.query, ""))


def with_scheme(proxy: str) -> str:
    """The URL of a proxy that may be just ``host:port`` ("ProxyConnectionSettings.url")."""
    return proxy if "://" in proxy else f"http://{proxy}"


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine, where a proxy has no business."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Redirected(InvalidHandshake):
    """The server answered an upgrade with a redirect; it is not followed."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


def redirected(status: int) -> str:
    """A sentence about a redirect: following it would take the headers elsewhere."""
    return f"the server redirects ({status}); redirects are not followed"


def reason(error: BaseException) -> str:
    """A sentence about a line that failed or broke. No header, no token, no payload."""
    if isinstance(error, Redirected):
        return redirected(error.status)
    if isinstance(error, InvalidStatus):
        code = error.response.status_code
        return STATUS.get(code, f"the server answered {code} instead of upgrading to WebSocket")
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, ConnectionClosed):
        return _closed(error)
    if isinstance(error, OSError):
        return f"cannot reach the server: {error.strerror or type(error).__name__}"
    if isinstance(error, InvalidHandshake):
        return f"not a WebSocket server ({type(error).__name__})"
    return f"cannot connect ({type(error).__name__})"


def _closed(error: ConnectionClosed) -> str:
    frame = error.rcvd or error.sent
    if frame is None:
        return "the connection broke"
    said = f": {frame.reason}" if frame.reason else ""
    who = "server" if error.rcvd is not None and not _ours_first(error) else "agent"
    return f"the {who} closed the connection ({frame.code}{said})"


def _ours_first(error: ConnectionClosed) -> bool:
    return error.rcvd_then_sent is False


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that a Retry-After header asks to wait: a number, or an HTTP date."""
    try:
        value = headers.get("Retry-After")
    except LookupError:  # websockets: said more than once, and who knows which counts
        return None
    if value is None:
        return None
    digits = value.strip()
    if digits.isdecimal():
        return float(digits)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now, UTC)).total_seconds())


def asked_delay(error: BaseException, now: float) -> float | None:
    """What the server that refused an upgrade asked for (OpAMP, "Throttling")."""
    if isinstance(error, InvalidStatus):
        return retry_after(error.response.headers, now)
    return None
