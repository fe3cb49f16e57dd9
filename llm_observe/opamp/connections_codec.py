"""Offered connections to protobuf messages and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from llm_observe.errors import MalformedMessage
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.codec import MAX_NODES
from llm_observe.opamp.connections import (
    ConnectionOffer,
    ConnectionSettings,
    ProxySettings,
    TLSSettings,
)
from llm_observe.opamp.values import AgentCapabilities, ConfigState, ConnectionStatus

OWN = ("own_metrics", "own_traces", "own_logs")

TAKES = {
    "opamp": AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS,
    "own_metrics": AgentCapabilities.REPORTS_OWN_METRICS,
    "own_traces": AgentCapabilities.REPORTS_OWN_TRACES,
    "own_logs": AgentCapabilities.REPORTS_OWN_LOGS,
    "other": AgentCapabilities.ACCEPTS_OTHER_CONNECTION_SETTINGS,
}
"""The capability that each part of an offer takes (OpAMP, "Connection Settings Management")."""

_Settings = TypeVar(
    "_Settings",
    opamp_pb2.OpAMPConnectionSettings,
    opamp_pb2.TelemetryConnectionSettings,
    opamp_pb2.OtherConnectionSettings,
)


def allowed(offer: ConnectionOffer, capabilities: AgentCapabilities) -> ConnectionOffer | None:
    """The parts of an offer that an agent has a use for; None where that is none."""
    dropped = {name: None for name, takes in TAKES.items() if takes not in capabilities}
    kept = {name: getattr(offer, name) for name in TAKES if name not in dropped}
    if not any(kept.values()):
        return None
    return ConnectionOffer(offer.hash, **kept)


def left_out(offer: ConnectionOffer, capabilities: AgentCapabilities) -> frozenset[str]:
    """The parts that lead somewhere, and that an agent has no use for."""
    parts = {name: getattr(offer, name) for name in TAKES if TAKES[name] not in capabilities}
    if parts.get("opamp") is not None and not parts["opamp"].endpoint:
        del parts["opamp"]  # an interval of heartbeats and nothing else
    return frozenset(name for name, part in parts.items() if part)


def offer_to_pb(offer: ConnectionOffer) -> opamp_pb2.ConnectionSettingsOffers:
    """See `ConnectionOffer`. Client certificates are not offered here."""
    pb = opamp_pb2.ConnectionSettingsOffers(hash=offer.hash)
    if offer.opamp is not None:
        _fill(pb.opamp, offer.opamp)
        pb.opamp.heartbeat_interval_seconds = offer.opamp.heartbeat_s
    for name in OWN:
        settings = getattr(offer, name)
        if settings is not None:
            _fill(getattr(pb, name), settings)
    for name, other in offer.other.items():
        _fill(pb.other_connections[name], other)
        pb.other_connections[name].other_settings.update(other.other)
    return pb


def _fill(pb: _Settings, settings: ConnectionSettings) -> None:
    pb.destination_endpoint = settings.endpoint
    if settings.headers is not None:
        pb.headers.CopyFrom(_headers_to_pb(settings.headers))
    if settings.tls is not None:
        pb.tls.CopyFrom(_tls_to_pb(settings.tls))
    if settings.proxy is not None:
        pb.proxy.url = settings.proxy.url
        pb.proxy.connect_headers.CopyFrom(_headers_to_pb(settings.proxy.connect_headers))


def _headers_to_pb(headers: Mapping[str, str]) -> opamp_pb2.Headers:
    pairs = [opamp_pb2.Header(key=key, value=headers[key]) for key in sorted(headers)]
    return opamp_pb2.Headers(headers=pairs)


def _tls_to_pb(tls: TLSSettings) -> opamp_pb2.TLSConnectionSettings:
    return opamp_pb2.TLSConnectionSettings(
        ca_pem_contents=tls.ca_pem,
        include_system_ca_certs_pool=tls.include_system_pool,
        insecure_skip_verify=tls.insecure_skip_verify,
        min_version=tls.min_version,
        max_version=tls.max_version,
        cipher_suites=tls.cipher_suites,
    )


def offer_from_pb(pb: opamp_pb2.ConnectionSettingsOffers) -> ConnectionOffer:
    """See `ConnectionOffer`."""
    if len(pb.other_connections) > MAX_NODES:
        raise MalformedMessage("too many values")
    own = {name: _settings(getattr(pb, name)) for name in OWN if pb.HasField(name)}
    opamp = None
    if pb.HasField("opamp"):
        opamp = replace(_settings(pb.opamp), heartbeat_s=pb.opamp.heartbeat_interval_seconds)
    other = {name: _other(pb.other_connections[name]) for name in pb.other_connections}
    return ConnectionOffer(pb.hash, opamp=opamp, other=other, **own)


def _settings(pb: _Settings) -> ConnectionSettings:
    return ConnectionSettings(
        endpoint=pb.destination_endpoint,
        headers=_headers_from_pb(pb.headers) if pb.HasField("headers") else None,
        tls=_tls_from_pb(pb.tls) if pb.HasField("tls") else None,
        proxy=_proxy_from_pb(pb.proxy) if pb.HasField("proxy") else None,
        certificate=pb.HasField("certificate"),
    )


def _other(pb: opamp_pb2.OtherConnectionSettings) -> ConnectionSettings:
    return replace(_settings(pb), other=dict(pb.other_settings))


def _headers_from_pb(pb: opamp_pb2.Headers) -> dict[str, str]:
    headers: dict[str, str] = {}
    for pair in pb.headers:  # HTTP allows repeats, and joins them by commas
        known = headers.get(pair.key)
        headers[pair.key] = pair.value if known is None else f"{known}, {pair.value}"
    return headers


def _tls_from_pb(pb: opamp_pb2.TLSConnectionSettings) -> TLSSettings:
    return TLSSettings(
        ca_pem=pb.ca_pem_contents,
        include_system_pool=pb.include_system_ca_certs_pool,
        insecure_skip_verify=pb.insecure_skip_verify,
        min_version=pb.min_version,
        max_version=pb.max_version,
        cipher_suites=tuple(pb.cipher_suites),
    )


def _proxy_from_pb(pb: opamp_pb2.ProxyConnectionSettings) -> ProxySettings:
    return ProxySettings(pb.url, _headers_from_pb(pb.connect_headers))


def status_to_pb(value: ConnectionStatus) -> opamp_pb2.ConnectionSettingsStatus:
    """See `ConnectionStatus`."""
    return opamp_pb2.ConnectionSettingsStatus(
        last_connection_settings_hash=value.hash,
        status=opamp_pb2.ConnectionSettingsStatuses.Name(value.state),
        error_message=value.error,
    )


def status_from_pb(pb: opamp_pb2.ConnectionSettingsStatus) -> ConnectionStatus:
    """See `ConnectionStatus`."""
    state = ConfigState.from_wire(pb.status)
    return ConnectionStatus(pb.last_connection_settings_hash, state, pb.error_message)
