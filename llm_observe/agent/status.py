"""What is connected, what is not, and why: as data, and as sentences for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_observe.errors import Problem
from llm_observe.tracing.export.status import PipelineStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The connection to the control plane."""

    server: str | None = None
    connected: bool = False
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationState:
    """What went to one destination since the process started."""

    endpoint: str
    sent: int = 0
    queued: int = 0
    failed: int = 0
    dropped: int = 0
    last_error: str = ""


def delivered(status: PipelineStatus) -> dict[str, DestinationState]:
    """The destinations of a pipeline, by name."""
    return {
        name: DestinationState(
            endpoint=item.endpoint,
            sent=item.sent,
            queued=item.queued,
            failed=item.failed,
            dropped=item.dropped,
            last_error=item.last_error,
        )
        for name, item in status.destinations.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of observation in this process; ``str()`` says it in sentences."""

    service_name: str
    instance_id: str
    link: Link
    settings: Mapping[str, Any]
    instrumentors: Mapping[str, str]
    destinations: Mapping[str, DestinationState] = field(default_factory=dict)
    calls: int = 0
    dropped: int = 0
    """Spans that were dropped because a queue was full, in all."""
    provider: str = ""
    """The tracer provider that calls are recorded on, where it is not ours."""
    disabled: bool = False
    fault: str = ""
    """Type of the fault of ours because of which nothing is observed."""
    remote_error: str = ""
    problems: tuple[Problem, ...] = ()
    troubles: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def sentences(self) -> Iterator[str]:
        """One sentence per fact, the most important first."""
        if self.disabled:
            why = f"it could not start ({self.fault}), and the log says more"
            yield f"Nothing is observed: {why if self.fault else 'OTEL_SDK_DISABLED is true'}."
            return
        yield self._observed()
        yield self._linked()
        yield self._recorded()
        yield from self._delivered()
        if self.remote_error:
            yield f"The last settings from the control plane were refused: {self.remote_error}"
        yield from (f"Ignored: {problem}." for problem in self.problems)
        yield from (f"Trouble: {trouble}." for trouble in self.troubles)

    def _observed(self) -> str:
        if not self.settings.get("instrumentation", {}).get("enabled", True):
            off = "instrumentation.enabled is false"
            return f"{self.service_name} records nothing ({off}); {self.calls} call(s) until then."
        on = [name for name, state in self.instrumentors.items() if state == "active"]
        what = f"calls through {', '.join(on)}" if on else "no client library yet"
        return f"{self.service_name} observes {what}; {self.calls} call(s) so far."

    def _linked(self) -> str:
        if self.link.server is None:
            return "No control plane is configured (set LLM_OBSERVE_SERVER or pass server=…)."
        if self.link.connected:
            return f"Connected to the control plane at {self.link.server}."
        why = f": {self.link.last_error}" if self.link.last_error else ""
        return f"Not connected to the control plane at {self.link.server}{why}."

    def _recorded(self) -> str:
        ratio, level = self.settings["sampling"]["ratio"], self.settings["capture"]["level"]
        if self.provider:
            where = f"calls are recorded on {self.provider}, which samples and exports by its own"
            return f"Capture level is {level}; {where} rules."
        return f"Capture level is {level}; {ratio:.0%} of traces are exported{self._besides()}."

    def _besides(self) -> str:
        """What of sampling is more than one share for all."""
        sampling = self.settings["sampling"]
        said = []
        if sampling.get("rules"):
            said.append(f"other shares by {len(sampling['rules'])} rule(s)")
        if sampling.get("per_second"):
            said.append(f"at most {sampling['per_second']:g} a second")
        keep = sampling.get("keep", {}).items()
        if any(value is not False for name, value in keep if not name.startswith("buffer_")):
            said.append("and those that a keep rule wants")
        return "".join(f", {words}" for words in said)

    def _delivered(self) -> Iterator[str]:
        if not self.destinations and not self.provider:
            yield "Spans go nowhere: no destination is configured (set OTEL_EXPORTER_OTLP_ENDPOINT or a server)."
        for name, state in self.destinations.items():
            lost = f", {state.dropped + state.failed} lost" if state.dropped + state.failed else ""
            error = f"; last error: {state.last_error}" if state.last_error else ""
            yield f"{name} ({state.endpoint}): {state.sent} sent, {state.queued} waiting{lost}{error}."
