"""Where a destination's signals go: its two URLs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llm_observe.settings.model import Destination

Signal = Literal["traces", "metrics"]


@dataclass(frozen=True, slots=True)
class Target:
    """The full URL per signal (OTLP/HTTP, "OTLP/HTTP Request")."""

    traces: str
    metrics: str

    def url(self, signal: Signal) -> str:
        """The URL of one signal."""
        return self.traces if signal == "traces" else self.metrics


def target_of(destination: Destination) -> Target:
    """A base URL gets the signal's path; a URL that names the traces path is taken as it is."""
    base = destination.endpoint.rstrip("/").removesuffix("/v1/traces").rstrip("/")
    return Target(f"{base}/v1/traces", f"{base}/v1/metrics")
