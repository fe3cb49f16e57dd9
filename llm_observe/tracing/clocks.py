"""The two clocks that a grant ends by."""

from __future__ import annotations

import time

from llm_observe.policy.capture import Clocks

# Linux counts the time asleep in this one only; elsewhere the monotonic clock does.
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def present() -> Clocks:
    """Now. Any thread; well below a microsecond."""
    return Clocks(time.clock_gettime(_BOOT), time.time())
