"""Which proxy a request over HTTP goes through, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3.util import make_headers

from llm_observe.settings.model import Destination
from llm_observe.settings.places import DIRECT
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.route import Route
from llm_observe.tracing.export.target import LOOPBACK
from llm_observe.tracing.export.verdict import Answer


def proxy_of(route: Route) -> tuple[str, Mapping[str, str]]:
    """URL and headers of the proxy; an empty URL for none.

    The settings' proxy is used for whatever they name, loopback included; that of the
    environment never for loopback.
    """
    if route.proxy == DIRECT:
        return "", {}
    url = route.proxy or _environments(route.url)
    return url, {"proxy-authorization": route.authorization} if route.authorization else _login(url)


_ON_THE_WAY = (
    "the proxy failed",
    "connection refused",  # this and the following are what gRPC says of it
    "the host name cannot be resolved",
    "network is unreachable",
    "no route to host",
)


def blame_proxy(answer: Answer, destination: Destination) -> Answer:
    """A failure to get through the proxy that the settings name is that key's."""
    if destination.proxy in {"", DIRECT} or not answer.reason.startswith(_ON_THE_WAY):
        return answer
    found = f"{destination.proxy}: {answer.reason}"
    return replace(
        answer, fault=KeyFault(("proxy",), found, "a proxy that connects to the endpoint")
    )


def _environments(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return ""
    proxies = getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all") or ""
    return found if "://" in found or not found else f"http://{found}"


def _login(url: str) -> Mapping[str, str]:
    """User and password that stand in the environment's URL."""
    parts = urlsplit(url)
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return make_headers(proxy_basic_auth=pair)
