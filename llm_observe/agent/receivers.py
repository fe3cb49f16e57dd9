"""Where a control plane wants this process's own telemetry: OpAMP's own_traces and own_metrics.

What is taken becomes the destination ``opamp`` in a layer of its own, below remote settings and
above the program's: ``opamp`` alone where both signals go to one place, and ``opamp-metrics``
beside it where they do not. Pure; where it is kept says `llm_observe.agent.lastgood`.
"""

from __future__ import annotations

import hashlib
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
FILES = "own_telemetry_"
"""How the names of files with authorities begin."""

_FORMAT = 1
_SIGNALS = {"own_traces": "traces", "own_metrics": "metrics"}


@dataclass(frozen=True, slots=True)
class Receiver:
    """One place for one signal. Its headers are secrets and never shown."""

    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    since: float = 0.0
    """Unix seconds."""
    ca: str = field(default="", repr=False)
    """PEM of the authorities that count there; empty: the usual ones."""
    proxy: str = ""
    """URL of the proxy on the way."""
    proxy_authorization: str = field(default="", repr=False)
    """What the proxy is told; a secret too."""

    @property
    def secrets(self) -> Iterator[str]:
        """All that must not show."""
        yield from self.headers.values()
        if self.proxy_authorization:
            yield self.proxy_authorization


@dataclass(frozen=True, slots=True)
class Own:
    """What has been offered and taken."""

    own_traces: Receiver | None = None
    own_metrics: Receiver | None = None
    folder: str = ""
    """Where the files with authorities lie."""

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """Those that there are."""
        return tuple(r for r in (self.own_traces, self.own_metrics) if r is not None)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The header values of both."""
        return tuple(value for receiver in self.receivers for value in receiver.secrets)

    @property
    def since(self) -> float:
        """When the newest of it was taken."""
        return max((receiver.since for receiver in self.receivers), default=0.0)


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
    document = {"endpoint": endpoint, "headers": headers, "signals": [signal]}
    return document | dict(_way(own, receiver))


def _way(own: Own, receiver: Receiver) -> Iterator[tuple[str, str]]:
    """What the way there is like, where it is not the usual one."""
    if receiver.ca:
        yield "ca", f"file:{own.folder}/{file_name(receiver.ca)}"
    if receiver.proxy:
        yield "proxy", receiver.proxy
    if receiver.proxy_authorization:
        yield "proxy_authorization", vault.reference(receiver.proxy_authorization)


def file_name(ca: str) -> str:
    """The file for some authorities; others have another one, so that none changes while in use."""
    return f"{FILES}{hashlib.sha256(ca.encode()).hexdigest()[:16]}.pem"


def within(own: Own, limits: Limits) -> Own:
    """What of it these limits let pass."""
    beyond: dict[str, Any] = {n: None for n in _SIGNALS if any(_limited(own, n, limits))}
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
    alone = fragment(replace(NOTHING, **{name: getattr(own, name)}))
    for problem in (*forbidden_keys(alone, limits), *beyond_limits(alone, limits)):
        yield f"expected {problem.expected}"


class Store(Protocol):
    """Where it is kept; `llm_observe.agent.lastgood.LastGood`."""

    def record(self, name: str) -> bytes | None:
        """What was kept. Raises `StateError`."""

    def keep_files(self, begin: str, files: Mapping[str, bytes]) -> str:
        """Keep these files and no others whose names begin so; their folder. Raises `StateError`."""


def load(store: Store) -> Own:
    """What was kept.

    Raises:
        StateError: It cannot be read, or is damaged.
    """
    data = store.record(RECORD)
    return NOTHING if data is None else with_files(from_bytes(data), store)


def with_files(own: Own, store: Store, *also: Own) -> Own:
    """The same, its authorities in files, where TLS wants them. Those of ``also`` stay.

    Raises:
        StateError: They cannot be kept.
    """
    pems = [receiver.ca for one in (own, *also) for receiver in one.receivers if receiver.ca]
    if not pems and not own.folder:
        return own
    files = {file_name(pem): pem.encode() for pem in pems}
    return replace(own, folder=store.keep_files(FILES, files))


def to_bytes(own: Own) -> bytes:
    """For a file; it holds credentials."""
    parts = {name: part for name, part in asdict(own).items() if name in _SIGNALS}
    return json.dumps({"format": _FORMAT, **parts}, sort_keys=True).encode()


def from_bytes(data: bytes) -> Own:
    """The inverse of `to_bytes`.

    Raises:
        StateError: Damaged, or written by an unknown format.
    """
    try:
        body = json.loads(data)
        if body["format"] != _FORMAT:
            raise StateError(f"{RECORD} has an unknown format")
        return Own(_receiver(body["own_traces"]), _receiver(body["own_metrics"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{RECORD} is damaged ({type(error).__name__})") from None


def _receiver(body: Mapping[str, Any] | None) -> Receiver | None:
    if body is None:
        return None
    headers = {str(name): str(value) for name, value in body["headers"].items()}
    way = {name: str(body.get(name, "")) for name in ("ca", "proxy", "proxy_authorization")}
    return Receiver(str(body["endpoint"]), headers, float(body["since"]), **way)
