"""What can be said about destinations and the pipeline, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalStatus:
    """One signal of one destination. Traces are counted in spans, metrics in exports."""

    state: str = "on"
    """``on``, ``off`` (not among the destination's signals), or why it is switched off."""

    sent: int = 0
    """Acknowledged by the destination."""

    failed: int = 0
    """Refused for good: in whole (HTTP 400, 413, 422; gRPC INVALID_ARGUMENT and its like) or in
    part (partial success)."""

    queued: int = 0
    """Waiting or on their way."""

    dropped: int = 0
    """Beyond the queue's bound, or left when the destination or the process ended."""

    last_error: str = ""
    """Why the latest failed request failed; stays after a success, which `last_success` dates."""

    last_error_at: float = 0.0
    """Unix seconds; 0 for never."""

    last_success: float = 0.0
    """Unix seconds; 0 for never."""

    @property
    def healthy(self) -> bool:
        """Nothing failed since the last success."""
        return self.last_error_at <= self.last_success


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationStatus:
    """One destination since the process began.

    The counts are those of its spans; errors and successes are the latest of both signals.
    `traces` and `metrics` tell the signals apart.
    """

    endpoint: str
    protocol: str = "http/protobuf"
    sent: int = 0
    failed: int = 0
    queued: int = 0
    dropped: int = 0
    last_error: str = ""
    last_error_at: float = 0.0
    last_success: float = 0.0
    traces: SignalStatus = field(default_factory=SignalStatus)
    metrics: SignalStatus = field(default_factory=SignalStatus)

    @property
    def healthy(self) -> bool:
        """Nothing failed since the last success."""
        return self.last_error_at <= self.last_success


def joined(
    endpoint: str, protocol: str, traces: SignalStatus, metrics: SignalStatus
) -> DestinationStatus:
    """A destination's status from those of its signals."""
    latest = max(traces, metrics, key=lambda item: item.last_error_at)
    return DestinationStatus(
        endpoint=endpoint,
        protocol=protocol,
        sent=traces.sent,
        failed=traces.failed,
        queued=traces.queued,
        dropped=traces.dropped,
        last_error=latest.last_error,
        last_error_at=latest.last_error_at,
        last_success=max(traces.last_success, metrics.last_success),
        traces=traces,
        metrics=metrics,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStatus:
    """The pipeline of this process."""

    enabled: bool = True
    """False: `instrumentation.enabled` lets nothing be recorded."""

    calls: int = 0
    """LLM calls that ended."""

    sampled_out: int = 0
    """Of these, calls that sampling kept from being exported. Metrics count them."""

    faults: int = 0
    """Own errors that were caught: content or metrics of a call may be missing."""

    dropped: int = 0
    """Spans dropped, by all destinations that are or were, and before any was reached."""

    held: int = 0
    """Spans that wait for the end of their trace, which a keep rule may then export."""

    kept: int = 0
    """Traces that a keep rule exported."""

    unjudged: int = 0
    """Spans dropped beyond the bounds of what is held, before their trace was over."""

    redacted: Mapping[str, int] = field(default_factory=dict)
    """What redaction found in spans that left, by rule; each span counts once."""

    destinations: Mapping[str, DestinationStatus] = field(default_factory=dict)
