"""Where a destination's signals go: its two URLs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from llm_observe.settings.model import Destination

Signal = Literal["traces", "metrics"]

GRPC_PORT = 4317
"""The port of OTLP over gRPC, where the endpoint names none."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that are reached without a proxy, whatever the environment names."""

_PATHS: dict[Signal, str] = {"traces": "/v1/traces", "metrics": "/v1/metrics"}


@dataclass(frozen=True, slots=True)
class Target:
    """The full URL per signal (OTLP/HTTP, "OTLP/HTTP Request"). gRPC has one for all."""

    traces: str
    metrics: str

    def url(self, signal: Signal) -> str:
        """The URL of one signal."""
        return self.traces if signal == "traces" else self.metrics


def target_of(destination: Destination) -> Target:
    """Where this destination's requests go.

    HTTP: a base URL gets the signal's path; a URL that names the path of either signal is taken
    as it is. gRPC: the URL with its port.
    """
    if destination.protocol == "grpc":
        url = _with_port(destination.endpoint.rstrip("/"))
        return Target(url, url)
    base = destination.endpoint.rstrip("/")
    for path in _PATHS.values():
        base = base.removesuffix(path).rstrip("/")
    return Target(base + _PATHS["traces"], base + _PATHS["metrics"])


def asked(destination: Destination) -> Signal:
    """The signal under which a destination is asked whether it would take any."""
    return "traces" if "traces" in destination.signals else "metrics"


def _with_port(url: str) -> str:
    parts = urlsplit(url)
    if parts.port is not None:
        return url
    return parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{GRPC_PORT}").geturl()
