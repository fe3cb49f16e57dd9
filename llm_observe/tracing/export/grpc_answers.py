"""What the end of a gRPC call means, in our own words.

A server's words are never repeated: they may quote what it was sent. What gRPC itself says about a
connection is recognized, and said shorter.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from llm_observe.tracing.export.verdict import Answer, explain

NO_ANSWER = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN"})
"""Codes that may come from this side, about a connection that is of no use."""

_DETAILS = "grpc-status-details-bin"

_PROXY_REFUSED = re.compile(r"proxy returned response code (\d{3})\b")

_REASONS: tuple[tuple[str, str], ...] = (
    ("hostname verification", "TLS failed: certificate of another host"),
    ("unable to get local issuer", "TLS failed: unable to get local issuer certificate"),
    ("self-signed", "TLS failed: self-signed certificate"),
    ("self signed", "TLS failed: self-signed certificate"),
    ("certificate has expired", "TLS failed: certificate has expired"),
    ("certificate_verify_failed", "TLS failed: certificate verify failed"),
    ("certificate_required", "TLS failed: a client certificate is required"),
    ("wrong_version_number", "TLS failed: the other side speaks no TLS (http instead of https?)"),
    ("handshake", "TLS failed"),
    (
        "proxy returned response code 407",
        "the proxy failed: HTTP 407 Proxy Authentication Required",
    ),
    ("proxy", "the proxy failed"),
    ("connection refused", "connection refused"),
    ("network is unreachable", "network is unreachable"),
    ("no route to host", "no route to host"),
    ("domain name not found", "the host name cannot be resolved"),
    ("address lookup failed", "the host name cannot be resolved"),
    ("dns resolution failed", "the host name cannot be resolved"),
    ("errors resolving", "the host name cannot be resolved"),
    ("parsing http/2", "the other side does not speak gRPC (is it a port for HTTP?)"),
    ("http1", "the other side does not speak gRPC (is it a port for HTTP?)"),
    ("larger than max", "a message that is larger than allowed"),
    ("connection reset", "the connection broke"),
    ("socket closed", "the connection broke"),
    ("broken pipe", "the connection broke"),
    ("deadline exceeded", "no answer within {timeout:g} s"),
)


def refusal(error: Any, timeout_s: float) -> Answer:
    """The answer that a failed call (a ``grpc.RpcError``, which is a ``grpc.Call``) stands for."""
    details = (error.details() or "").lower()
    reason = _tunnel(details) or next((text for mark, text in _REASONS if mark in details), "")
    return Answer(
        0,
        reason.format(timeout=timeout_s),
        retry_after_s=_retry_after(error.trailing_metadata() or ()),
        code=error.code().name,
    )


def _tunnel(details: str) -> str:
    found = _PROXY_REFUSED.search(details)
    return f"the proxy failed: {explain(Answer(int(found[1])))}" if found else ""


def _retry_after(metadata: Any) -> float | None:
    """Seconds from a RetryInfo in the status details (OTLP/gRPC, "Throttling"), else None."""
    for key, value in metadata:
        if key == _DETAILS and isinstance(value, bytes):
            return _delay(value)
    return None


def _delay(details: bytes) -> float | None:
    info = RetryInfo()
    try:
        found = next(
            (each for each in Status.FromString(details).details if each.Unpack(info)), None
        )
    except DecodeError:
        return None
    return None if found is None else info.retry_delay.seconds + info.retry_delay.nanos / 1e9
