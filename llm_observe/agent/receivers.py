"""Where a control plane wants this process's own telemetry: OpAMP's own_traces and own_metrics.

What is taken becomes the destination ``opamp`` in a layer of its own, below remote settings and
above the program's: ``opamp`` alone where both signals go to one place, and ``opamp-metrics``
beside it where they do not. Pure; where it is kept says `llm_observe.agent.lastgood`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from llm_observe.errors import StateError
from llm_observe.settings.layers import beyond_limits, forbidden_keys
from llm_observe.settings.model import Limits
from llm_observe.tracing.export import vault

DESTINATION = "opamp"
METRICS_DESTINATION = "opamp-metrics"
RECORD = "own_telemetry.json"

_FORMAT = 1
_SIGNALS = {"own_traces": "traces", "own_metrics": "metrics"}


@dataclass(frozen=True, slots=True)
class Receiver:
    """One place for one signal. Its headers are secrets and never shown."""

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    since: float = 0.0
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Own:
    """What has been offered and taken."""

    own_traces: Receiver | None = None
    own_metrics: Receiver | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The header values of both."""
        receivers = (self.own_traces, self.own_metrics)
        return tuple(value for r in receivers if r is not None for value in r.headers.values())

    @property
    def since(self) -> float:
        """When the newest of it was taken."""
        return max((r.since for r in (self.own_traces, self.own_metrics) if r), default=0.0)


NOTHING = Own()


def fragment(own: Own) -> dict[str, Any]:
    """What it says as settings: secrets by reference."""
    traces, metrics = _document(own, "own_traces"), _document(own, "own_metrics")
    if traces is None and metrics is None:
        return {}
    if traces is None or metrics is None:
        return {"destinations": {DESTINATION: traces or metrics}}
    if {**traces, "signals": ()} == {**metrics, "signals": ()}:
        return {"destinations": {DESTINATION: {**traces, "signals": ["traces", "metrics"]}}}
    return {"destinations": {DESTINATION: traces, METRICS_DESTINATION: metrics}}


def metrics_destination(own: Own) -> str:
    """The name of the destination that own metrics go to; empty if nobody wants them."""
    if own.own_metrics is None:
        return ""
    return METRICS_DESTINATION if METRICS_DESTINATION in _destinations(own) else DESTINATION


def _destinations(own: Own) -> Mapping[str, Any]:
    found: Mapping[str, Any] = fragment(own).get("destinations", {})
    return found


def _document(own: Own, name: str) -> dict[str, Any] | None:
    receiver: Receiver | None = getattr(own, name)
    if receiver is None:
        return None
    signal = _SIGNALS[name]
    headers = {key: vault.reference(value) for key, value in receiver.headers.items()}
    # Offered is the URL of one signal (OpAMP, "TelemetryConnectionSettings.destination_endpoint").
    endpoint = receiver.endpoint.rstrip("/").removesuffix(f"/v1/{signal}")
    return {"endpoint": endpoint, "headers": headers, "signals": [signal]}


def within(own: Own, limits: Limits) -> Own:
    """What of it these limits let pass."""
    beyond = {name: None for name in _SIGNALS if any(_limited(own, name, limits))}
    return replace(own, **beyond)


def may_be_offered(limits: Limits) -> bool:
    """Whether these limits let anything pass at all."""
    anywhere = Own(Receiver("http://any"))
    return limits.destination_hosts != () and not any(forbidden_keys(fragment(anywhere), limits))


def limit_problems(own: Own, limits: Limits) -> dict[str, str]:
    """Why an offered one is beyond the limits, by name."""
    found = {name: next(_limited(own, name, limits), "") for name in _SIGNALS}
    return {name: text for name, text in found.items() if text}


def _limited(own: Own, name: str, limits: Limits) -> Iterator[str]:
    alone = fragment(Own(**{name: getattr(own, name)}))
    for problem in (*forbidden_keys(alone, limits), *beyond_limits(alone, limits)):
        yield f"expected {problem.expected}"


class Store(Protocol):
    """Where it is kept; `llm_observe.agent.lastgood.LastGood`."""

    def record(self, name: str) -> bytes | None:
        """What was kept. Raises `StateError`."""


def load(store: Store) -> Own:
    """What was kept.

    Raises:
        StateError: It cannot be read, or is damaged.
    """
    data = store.record(RECORD)
    return NOTHING if data is None else from_bytes(data)


def to_bytes(own: Own) -> bytes:
    """For a file; it holds credentials."""
    return json.dumps({"format": _FORMAT, **asdict(own)}, sort_keys=True).encode()


def from_bytes(data: bytes) -> Own:
    """The inverse of `to_bytes`.

    Raises:
        StateError: Damaged, or written by an unknown format.
    """
    try:
        body = json.loads(data)
        if body["format"] != _FORMAT:
            raise StateError(f"{RECORD} has an unknown format")
        return Own(**{name: _receiver(body[name]) for name in _SIGNALS})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{RECORD} is damaged ({type(error).__name__})") from None


def _receiver(body: Mapping[str, Any] | None) -> Receiver | None:
    if body is None:
        return None
    headers = {str(name): str(value) for name, value in body["headers"].items()}
    return Receiver(str(body["endpoint"]), headers, float(body["since"]))
