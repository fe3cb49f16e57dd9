"""How this process is doing, as OpAMP's tree of components, and when it is worth saying.

| component | unhealthy when |
| --- | --- |
| ``destination:<name>`` with ``traces`` and ``metrics`` | the newest request of the signal failed |
| ``instrumentors``, one component per library | the library is here and cannot be recorded |
| ``recording`` | an error of our own was caught lately |
| ``settings`` | what the control plane says cannot be kept across restarts |

Pure: time is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from llm_observe.opamp import Health
from llm_observe.tracing.export.status import DestinationStatus, PipelineStatus, SignalStatus
from llm_observe.tracing.wrapping.instrument import InstrumentorInfo

STATES_S = 5.0
"""A change of what is healthy is told at once, and then at most this often (seconds)."""

COUNTS_S = 30.0
"""Counts alone are told this often at most."""

FAULT_S = 300.0
"""An error of our own is news for so long."""

_KILLED = "nothing is recorded: instrumentation.enabled is false"
_BROKEN = frozenset({"failed", "unsupported"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What health is made of, at one moment."""

    status: PipelineStatus
    instrumentors: tuple[InstrumentorInfo, ...] = ()
    fault: str = ""
    """The newest error of our own, by type and place; empty when it is old."""
    trouble: str = ""


def tree(seen: Seen, start_ns: int, now_ns: int) -> Health:
    """The whole process: healthy while all of its components are."""
    stamp = _Stamp(start_ns, now_ns)
    components = {
        **{f"destination:{n}": _destination(d, stamp) for n, d in seen.status.destinations.items()},
        "instrumentors": _instrumentors(seen.instrumentors, stamp),
        "recording": _recording(seen, stamp),
        "settings": stamp.health(seen.trouble),
    }
    return stamp.joined(components)


class Watch:
    """Decides which health is worth a message: only a changed one, and not too often."""

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._states: object = None
        self._counts: object = None
        self._told_at = float("-inf")
        self._faults, self._fault_at = 0, float("-inf")

    def look(
        self, status: PipelineStatus, infos: Iterable[InstrumentorInfo], fault: str, trouble: str, now: float
    ) -> Health | None:  # fmt: skip
        """The health to report at ``now`` (Unix seconds), or None."""
        if status.faults != self._faults:
            self._faults, self._fault_at = status.faults, now
        recent = fault if abs(now - self._fault_at) < FAULT_S else ""
        seen = Seen(status=status, instrumentors=tuple(infos), fault=recent, trouble=trouble)
        health = tree(seen, self._start_ns, int(now * 1e9))
        states, counts = tuple(_states(health)), tuple(_counts(health))
        waited = abs(now - self._told_at)
        changed = states != self._states and waited >= STATES_S
        if not changed and not (counts != self._counts and waited >= COUNTS_S):
            return None
        self._states, self._counts, self._told_at = states, counts, now
        return health


def _destination(status: DestinationStatus, stamp: _Stamp) -> Health:
    signals = {"traces": _signal(status.traces, stamp), "metrics": _signal(status.metrics, stamp)}
    place = {"endpoint": status.endpoint, "protocol": status.protocol}
    return stamp.joined(signals, _counted(status) | place)


def _signal(status: SignalStatus, stamp: _Stamp) -> Health:
    error = "" if status.healthy or status.state == "off" else status.last_error
    if status.state in {"on", "off"}:
        name = "off" if status.state == "off" else ""
        return stamp.health(
            error, status=name, attributes=_counted(status), running=status.state == "on"
        )
    # A backend without metrics is no trouble of this process: said, and healthy all the same.
    remark = f"it does not take these: {status.state}"
    return stamp.health("", remark, status="off", attributes=_counted(status), running=False)


def _instrumentors(infos: Iterable[InstrumentorInfo], stamp: _Stamp) -> Health:
    return stamp.joined(
        {
            info.library: stamp.health(
                info.reason if info.state in _BROKEN else "",
                status=info.state,
                running=info.state == "active",
            )
            for info in infos
        }
    )


def _recording(seen: Seen, stamp: _Stamp) -> Health:
    status = seen.status
    error = f"an error of our own, {status.faults} so far: {seen.fault}" if seen.fault else ""
    attributes = {
        "calls": status.calls,
        "sampled_out": status.sampled_out,
        "faults": status.faults,
        "dropped": status.dropped,
        "held": status.held,
        "kept": status.kept,
        "unjudged": status.unjudged,
        **{f"redacted.{rule}": number for rule, number in status.redacted.items()},
    }
    if not status.enabled:
        return stamp.health(error, _KILLED, status="off", attributes=attributes)
    return stamp.health(error, attributes=attributes)


def _counted(status: DestinationStatus | SignalStatus) -> dict[str, int | str]:
    return {
        "sent": status.sent,
        "failed": status.failed,
        "queued": status.queued,
        "dropped": status.dropped,
    }


@dataclass(frozen=True, slots=True)
class _Stamp:
    start_ns: int
    now_ns: int

    def health(
        self,
        error: str,
        remark: str = "",
        *,
        status: str = "",
        components: Mapping[str, Health] | None = None,
        attributes: Mapping[str, int | str] | None = None,
        running: bool = True,
    ) -> Health:
        """Unhealthy if there is an error. What does not run has no time of its start."""
        return Health(
            healthy=not error,
            start_time_unix_nano=self.start_ns if running else 0,
            last_error=error or remark,
            status=status or ("failing" if error else "ok"),
            status_time_unix_nano=self.now_ns,
            components=components or {},
            attributes=attributes or {},
        )

    def joined(
        self, components: Mapping[str, Health], attributes: Mapping[str, int | str] | None = None
    ) -> Health:
        """As healthy as its parts; its error names those that are not."""
        errors = [f"{name}: {c.last_error}" for name, c in components.items() if not c.healthy]
        status = "degraded" if errors else "ok"
        return self.health(
            "; ".join(errors), status=status, components=components, attributes=attributes
        )


def _walk(health: Health, name: str = "") -> Iterator[tuple[str, Health]]:
    yield name, health
    for part, child in health.components.items():
        yield from _walk(child, f"{name}/{part}")


def _states(health: Health) -> Iterator[tuple[str, bool, str, str]]:
    return ((name, item.healthy, item.status, item.last_error) for name, item in _walk(health))


def _counts(health: Health) -> Iterator[tuple[str, tuple[tuple[str, object], ...]]]:
    return ((name, tuple(item.attributes.items())) for name, item in _walk(health))
