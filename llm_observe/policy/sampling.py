"""Which traces are kept: a decision by trace id alone.

The rule is that of OpenTelemetry's ``TraceIdRatioBased``: the low 64 bits of the trace id
against ``round(ratio * 2**64)``. Every process decides alike, and what a ratio keeps, every
larger ratio keeps too.
"""

from __future__ import annotations

_LOW_64 = (1 << 64) - 1


def bound(ratio: float) -> int:
    """The first value of the low 64 bits that is dropped at this ratio."""
    return round(ratio * (1 << 64))


def keeps(trace_id: int, ratio: float) -> bool:
    """Whether a trace is kept at a ratio from 0 to 1."""
    return trace_id & _LOW_64 < bound(ratio)
