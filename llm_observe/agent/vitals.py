"""How much of the machine this process takes: read from the operating system, where it tells.

Linux tells all of it through ``/proc``, every Unix the times, faults and switches. What cannot be
read is None, never 0. Nothing is loaded for it and nothing waits.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

if sys.platform != "win32":
    import resource

PROC = Path("/proc/self")

Number = TypeVar("Number", int, float)

_RSS, _VIRTUAL = 1, 0  # pages, in statm (proc(5))
_STARTED = 19  # ticks after boot, in stat after the name (proc(5), field 22)


@dataclass(frozen=True, slots=True)
class Vitals:
    """One look at this process."""

    at_ns: int
    """Unix time."""
    user_s: float
    system_s: float
    cpus: int
    """How many this process may use."""
    uptime_s: float | None = None
    memory_bytes: int | None = None
    virtual_bytes: int | None = None
    threads: int | None = None
    descriptors: int | None = None
    minor_faults: int | None = None
    major_faults: int | None = None
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None

    @property
    def started_ns(self) -> int | None:
        """When it was started, in Unix time; by the system's word alone, and to its precision."""
        return None if self.uptime_s is None else self.at_ns - int(self.uptime_s * 1e9)

    @property
    def cpu_s(self) -> float:
        """All CPU time that it has taken."""
        return self.user_s + self.system_s

    def utilization(self, before: Vitals) -> float | None:
        """The share of its CPUs that it took since an earlier look; None where that is no time."""
        elapsed_s = (self.at_ns - before.at_ns) / 1e9
        if elapsed_s <= 0:
            return None
        return max(0.0, self.cpu_s - before.cpu_s) / elapsed_s / self.cpus


def look(proc: Path = PROC) -> Vitals:
    """How this process stands now. Never raises."""
    times = os.times()
    return Vitals(
        at_ns=time.time_ns(),
        user_s=times.user,
        system_s=times.system,
        cpus=_cpus(),
        uptime_s=_asked(lambda: _uptime_s(proc)),
        memory_bytes=_asked(lambda: _memory(proc, _RSS)),
        virtual_bytes=_asked(lambda: _memory(proc, _VIRTUAL)),
        threads=_asked(lambda: len(os.listdir(proc / "task"))),
        descriptors=_asked(lambda: len(os.listdir(proc / "fd")) - 1),  # without the one that looks
        **_usage(),
    )


def _asked(question: Callable[[], Number]) -> Number | None:
    try:
        return question()
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def _cpus() -> int:
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _uptime_s(proc: Path) -> float:
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[_STARTED]) / os.sysconf(
        "SC_CLK_TCK"
    )


def _memory(proc: Path, field: int) -> int:
    return int((proc / "statm").read_text().split()[field]) * os.sysconf("SC_PAGE_SIZE")


def _usage() -> dict[str, int]:
    if sys.platform == "win32":
        return {}
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "minor_faults": used.ru_minflt,
        "major_faults": used.ru_majflt,
        "voluntary_switches": used.ru_nvcsw,
        "involuntary_switches": used.ru_nivcsw,
    }
