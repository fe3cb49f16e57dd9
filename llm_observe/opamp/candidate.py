"""An offered OpAMP connection, from the offer to its being used or given up; without I/O.

The flow of OpAMP ("OpAMP Connection Setting Offer Flow") as a table of steps on one record::

    offered ──► APPLYING, candidate kept ──► connect with it ──┬─ verified ──► APPLIED, it is in use
       │                                                       └─ failed ────► FAILED, the former one
       └─ cannot be taken ──► FAILED

Each step gives a new `Record`. Whoever drives saves it *before* acting on it or telling it, so a
crash leaves one of the records of the table; `resumed` says how to go on from each. A record
holds credentials: it is stored for its owner's eyes only, and never shown.

What else was offered along with it (own telemetry, other connections) is the agent's business;
the one status that OpAMP has for both is APPLIED when all of it is, FAILED when any of it is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from llm_observe.opamp.connections import (
    ConnectionOffer,
    ConnectionSettings,
    ProxySettings,
    TLSSettings,
    origin,
)
from llm_observe.opamp.values import ConfigState, ConnectionStatus

VERSION = 1
_SECURE = ("wss://", "https://")
_SCHEMES = ("ws://", "http://", *_SECURE)


@dataclass(frozen=True, slots=True)
class Record:
    """How far it got. ``active`` None is the connection that the agent was started with."""

    active: ConnectionSettings | None = field(default=None, repr=False)
    candidate: ConnectionSettings | None = field(default=None, repr=False)
    status: ConnectionStatus = field(default_factory=ConnectionStatus)
    # The agent has not said yet what became of the rest of the offer.
    rest_waits: bool = False

    @property
    def wanted(self) -> ConnectionSettings | None:
        """The connection to use now."""
        return self.candidate or self.active


@dataclass(frozen=True, slots=True)
class Rules:
    """What an offer may do here. Nothing that lowers security, unless the program says so."""

    insecure: bool = False
    """Whether it may turn off the verification of certificates."""

    plaintext: bool = False
    """Whether it may lead from TLS to no TLS."""

    allows: Callable[[str], bool] = lambda url: True
    """Whether an endpoint, or a proxy, may be used at all; asked again after a restart."""


def problem(offered: ConnectionSettings, in_use: str, rules: Rules) -> str:
    """Why an offered connection cannot be taken; empty if it can. ``in_use`` is a URL."""
    endpoint = offered.endpoint.lower()
    checks = {
        "the endpoint must be a ws, wss, http or https URL": not endpoint.startswith(_SCHEMES)
        or len(origin(endpoint).split("://")[-1]) == 0,
        "the endpoint holds credentials; they belong in a header": "@"
        in endpoint.split("://", 1)[-1].split("/", 1)[0],
        "client certificates are not supported": offered.certificate,
        "turning off TLS verification is not allowed here": offered.tls is not None
        and offered.tls.insecure_skip_verify
        and not rules.insecure,
        "leading from TLS to no TLS is not allowed here": in_use.lower().startswith(_SECURE)
        and not endpoint.startswith(_SECURE)
        and not rules.plaintext,
        "a header is no header: it holds a line break or the like": _has_controls(offered),
        "a proxy needs a URL": offered.proxy is not None and not offered.proxy.url,
        "its host is not among those allowed here": not all(
            rules.allows(url) for url in (endpoint, offered.proxy and offered.proxy.url) if url
        ),
    }
    return next((text for text, holds in checks.items() if holds), "")


def _has_controls(offered: ConnectionSettings) -> bool:
    """Whether a header would become two, or end the head of a request."""
    proxy = offered.proxy.connect_headers if offered.proxy else {}
    pairs = [*(offered.headers or {}).items(), *proxy.items()]
    return any(
        ord(sign) < 32 or ord(sign) == 127 for pair in pairs for text in pair for sign in text
    )


def merged(former: ConnectionSettings | None, offered: ConnectionSettings) -> ConnectionSettings:
    """What an offer means together with what holds: what it leaves out is kept.

    But headers, which hold a token, are kept only for the same scheme, host and port.
    """
    if former is None:
        return offered
    same = origin(former.endpoint) == origin(offered.endpoint)
    kept = former.headers if same else None
    return replace(
        offered,
        headers=offered.headers if offered.headers is not None else kept,
        tls=offered.tls or former.tls,
        proxy=offered.proxy or former.proxy,
    )


def offered(
    record: Record,
    offer: ConnectionOffer,
    in_use: str,
    rules: Rules,
    left_out: Iterable[str] = (),
) -> Record:
    """The server offers: a candidate, or a status that says why not.

    ``left_out`` names the parts of the offer that this agent takes no such offers of.
    """
    rest = has_rest(offer)
    error = "\n".join(f"{name}: not accepted by this agent" for name in sorted(left_out))
    applying = ConnectionStatus(offer.hash, ConfigState.APPLYING, error)
    fresh = replace(record, candidate=None, status=applying, rest_waits=rest)
    if offer.opamp is None:
        return _done(fresh)
    wrong = problem(offer.opamp, in_use, rules)
    if wrong:
        return _failed(fresh, f"opamp: {wrong}")
    wanted = replace(merged(record.active, offer.opamp), heartbeat_s=0)
    if wanted == record.active:  # only the interval changed, or the rest
        return _done(fresh)
    return replace(fresh, candidate=wanted)


def verified(record: Record) -> Record:
    """A real connection with the candidate worked: it is the connection from now on."""
    if record.candidate is None:
        return record
    return _done(replace(record, active=record.candidate, candidate=None))


def failed(record: Record, reason: str) -> Record:
    """The candidate did not work: the former connection is the one again."""
    if record.candidate is None:
        return record
    return _failed(replace(record, candidate=None), f"opamp: {reason}")


def rest_settled(record: Record, settings_hash: bytes, errors: Iterable[str]) -> Record:
    """The agent says what became of the rest of the offer with this hash."""
    if not record.rest_waits or record.status.hash != settings_hash:
        return record
    lines = [line for line in (record.status.error, *errors) if line]
    status = replace(record.status, error="\n".join(lines))
    settled = replace(record, rest_waits=False, status=status)
    return _done(settled) if settled.candidate is None else settled


def resumed(record: Record) -> Record:
    """After a restart: a candidate is tried anew; what the agent had in hand is offered anew."""
    if record.status.state is not ConfigState.APPLYING:
        return record
    if record.candidate is None or record.rest_waits:
        return replace(record, rest_waits=False, status=ConnectionStatus())
    return record


def within(record: Record, in_use: str, rules: Rules) -> Record:
    """After a restart: a connection that the rules no longer let pass is given up."""
    if record.wanted is None:
        return record
    wrong = problem(record.wanted, in_use, rules)
    if not wrong:
        return record
    if record.candidate is not None:
        return within(failed(record, wrong), in_use, rules)
    return _failed(replace(record, active=None), f"opamp: {wrong}")


def has_rest(offer: ConnectionOffer) -> bool:
    """Whether an offer holds more than the OpAMP connection."""
    return bool(offer.own_metrics or offer.own_traces or offer.own_logs or offer.other)


def _failed(record: Record, error: str) -> Record:
    lines = [line for line in (record.status.error, error) if line]
    return _done(replace(record, status=replace(record.status, error="\n".join(lines))))


def _done(record: Record) -> Record:
    """The status, once everything of the offer is settled."""
    if record.rest_waits or not record.status.hash:
        return record
    state = ConfigState.FAILED if record.status.error else ConfigState.APPLIED
    return replace(record, status=replace(record.status, state=state))


# ------------------------------------------------------------------------------------- as bytes


def to_bytes(record: Record) -> bytes:
    """The record for a store. It holds credentials."""
    content = {
        "version": VERSION,
        "active": record.active and asdict(record.active),
        "candidate": record.candidate and asdict(record.candidate),
        "hash": record.status.hash.hex(),
        "state": record.status.state.name,
        "error": record.status.error,
        "rest_waits": record.rest_waits,
    }
    return json.dumps(content, sort_keys=True).encode()


def from_bytes(data: bytes) -> Record:
    """The record in some bytes. Raises `ValueError` for what is none."""
    try:
        content = json.loads(data)
        if content["version"] != VERSION:
            raise ValueError("a record of another version")
        status = ConnectionStatus(
            bytes.fromhex(content["hash"]), ConfigState[content["state"]], str(content["error"])
        )
        return Record(
            _settings(content["active"]),
            _settings(content["candidate"]),
            status,
            bool(content["rest_waits"]),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no record of a connection ({type(error).__name__})") from None


def _settings(content: dict[str, Any] | None) -> ConnectionSettings | None:
    if content is None:
        return None
    if not isinstance(content["endpoint"], str):
        raise ValueError("no record of a connection (its endpoint is no text)")
    tls, proxy = content.pop("tls"), content.pop("proxy")
    if tls is not None:
        tls["cipher_suites"] = tuple(tls["cipher_suites"])
    return ConnectionSettings(
        **content,
        tls=TLSSettings(**tls) if tls is not None else None,
        proxy=ProxySettings(**proxy) if proxy is not None else None,
    )
