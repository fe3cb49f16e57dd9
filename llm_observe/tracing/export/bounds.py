"""The bounds of export: how much is kept, how much is sent at once, how long things may take.

They belong to the process and are read once, so a remote party can never raise what an
application spends on its telemetry; but for the queue of a destination, which settings may size
within the local limit `queue_mib`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Sizes in items and bytes, durations in seconds."""

    queue_items: int = 8192
    """Spans that one destination keeps until they are acknowledged."""

    queue_bytes: int = 32 * 1024 * 1024
    """Their estimated size; whichever bound is met first counts."""

    batch_items: int = 256
    """Spans in one request."""

    batch_bytes: int = 1024 * 1024
    """Estimated content of one request. A span that is larger travels alone."""

    request_bytes: int = 8 * 1024 * 1024
    """Encoded size beyond which a request of several spans is halved before it is sent."""

    delay_s: float = 0.5
    """How long a span waits for company."""

    grace_s: float = 0.5
    """How long a request that must end may still end by itself before it is aborted."""

    metrics_period_s: float = 5.0
    """Time between two metric exports."""

    metrics_payloads: int = 360
    """Metric exports that are kept for a destination that does not answer."""

    completion_s: float = 3.0
    """How long a call's late numbers may take before it is exported without them."""

    retry_first_s: float = 0.5
    """Wait after the first failure; it doubles with each further one."""

    retry_most_s: float = 30.0
    """The longest wait that we choose ourselves."""

    retry_after_most_s: float = 120.0
    """The longest wait that a destination may ask for."""


def read_bounds(environ: Mapping[str, str], bounds: Bounds | None = None) -> Bounds:
    """The bounds that the OpenTelemetry variables ask for; unreadable values are left out.

    A batch is at most a quarter of the queue: a queue that could not fill a batch would drop
    spans while the worker still waits for company.
    """
    found: dict[str, Any] = {}
    for variable, (name, read) in _VARIABLES.items():
        value = read(environ.get(variable, ""))
        if value is not None:
            found[name] = value
    asked = replace(bounds or Bounds(), **found)
    return replace(asked, batch_items=min(asked.batch_items, max(1, asked.queue_items // 4)))


def _count(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() and int(text) > 0 else None


def _milliseconds(text: str) -> float | None:
    try:
        value = float(text) / 1000
    except ValueError:
        return None
    return value if value > 0 and math.isfinite(value) else None


_VARIABLES: dict[str, tuple[str, Callable[[str], float | int | None]]] = {
    "OTEL_BSP_MAX_QUEUE_SIZE": ("queue_items", _count),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": ("batch_items", _count),
    "OTEL_BSP_SCHEDULE_DELAY": ("delay_s", _milliseconds),
    "OTEL_METRIC_EXPORT_INTERVAL": ("metrics_period_s", _milliseconds),
}
