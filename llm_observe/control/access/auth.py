"""Who may come in: Host and Origin on every surface, tokens by kind, sessions for the pages.

Loopback is not a border: any web page in a browser on this machine can send requests here, and a
name that resolves to 127.0.0.1 makes them look like its own (DNS rebinding). So each request,
WebSocket and OTLP included, must name a host that is ours, and if it names an origin, that must
be the same host. Tokens are of two kinds: ``ingest`` opens OpAMP and OTLP and nothing else,
``admin`` opens pages and REST and nothing else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from llm_observe.control.access.sessions import COOKIE, Sessions
from llm_observe.control.cases.tokens import TokenCases
from llm_observe.control.rules.model import TokenKind

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Surface(Enum):
    """What a path belongs to, and so which token opens it."""

    PUBLIC = None
    INGEST = TokenKind.INGEST
    ADMIN = TokenKind.ADMIN


_SURFACES = {
    "/healthz": Surface.PUBLIC,
    "/readyz": Surface.PUBLIC,
    "/login": Surface.PUBLIC,
    "/logout": Surface.PUBLIC,
    "/favicon.ico": Surface.PUBLIC,
    "/v1/opamp": Surface.INGEST,
    "/v1/traces": Surface.INGEST,
    "/v1/metrics": Surface.INGEST,
}


def surface(path: str) -> Surface:
    """Whatever is not named is for admins only."""
    if path.startswith("/static/"):
        return Surface.PUBLIC
    return _SURFACES.get(path.rstrip("/"), Surface.ADMIN)


@dataclass(frozen=True, slots=True)
class Visitor:
    """What a request says of itself; header names in lower case."""

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in."""

    status: int
    reason: str


class Border:
    """The rules, as one decision per request.

    Args:
        tokens: The tokens that exist and whether one is needed.
        sessions: Who logged in to the pages.
        hosts: Further names that this server is reached by.
    """

    def __init__(
        self, tokens: TokenCases, sessions: Sessions, hosts: frozenset[str] = frozenset()
    ) -> None:
        self._tokens, self._sessions, self._hosts = tokens, sessions, hosts

    def judge(self, visitor: Visitor) -> Refusal | str:
        """A refusal, or the name of who acts (empty where nobody had to say)."""
        host = visitor.headers.get("host", "")
        return (
            self._judge_host(host)
            or _judge_origin(host, visitor.headers.get("origin"))
            or _judge_fetch(visitor.headers)
            or self._judge_token(visitor, host_name(host))
        )

    def judge_ingest(self, headers: Mapping[str, str]) -> int | None:
        """None for a welcome, else the HTTP status; for the OpAMP and OTLP applications."""
        verdict = self.judge(Visitor("/v1/opamp", headers))
        return verdict.status if isinstance(verdict, Refusal) else None

    def _judge_host(self, host: str) -> Refusal | None:
        name = host_name(host)
        if is_local(name) or name in self._hosts:
            return None
        if not self._tokens.loopback and _is_address(name):
            return None  # a rebinding attack needs a name; an address cannot lie
        return Refusal(
            403, f"this server is not reached by the name {name[:80]!r}; --allow-host adds it"
        )

    def _judge_token(self, visitor: Visitor, name: str) -> Refusal | str:
        kind = surface(visitor.path).value
        if kind is None:
            return ""
        value = _bearer(visitor.headers)
        if value is not None:
            return self._judge_value(value, kind)
        if kind is TokenKind.ADMIN and (who := self._sessions.who(_cookie(visitor.headers))):
            return who
        if is_local(name) and not self._tokens.needs_token(kind):
            return ""
        return Refusal(401, f"this needs a token of kind {kind}")

    def _judge_value(self, value: str, kind: TokenKind) -> Refusal | str:
        view = self._tokens.keyring.find(value)
        if view is None:
            return Refusal(401, "this token is not valid")
        if view.kind is not kind:
            return Refusal(403, f"a token of kind {view.kind} does not open this; {kind} does")
        return view.name


def _judge_origin(host: str, origin: str | None) -> Refusal | None:
    if origin is None:
        return None
    try:
        ours = urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        ours = False
    return None if ours else Refusal(403, "a page of another origin may not use this server")


def _judge_fetch(headers: Mapping[str, str]) -> Refusal | None:
    """A browser says where a request without Origin came from; only following a link is fine."""
    elsewhere = headers.get("sec-fetch-site") in {"cross-site", "same-site"}
    if elsewhere and headers.get("sec-fetch-mode") != "navigate":
        return Refusal(403, "a page of another site may not use this server")
    return None


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def is_local(name: str) -> bool:
    """Whether a name or address means this machine and nothing else."""
    if name in LOCAL_NAMES:
        return True
    return _is_address(name) and ipaddress.ip_address(name).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _bearer(headers: Mapping[str, str]) -> str | None:
    value = headers.get("authorization")
    if value is None:
        return None
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""
