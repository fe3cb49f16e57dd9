"""Channels to gRPC servers: how they are made, and how they end.

Each has a connection of its own (gRPC would else share one, and its back-off, among channels), so
that closing it is the end of everything it carries. To forget a channel is more than to close it:
what the kernel has already taken is thrown away too (`llm_observe.tracing.export.marked`).

Fork: a channel belongs to the process that opened it. A child has workers of its own, and so
channels; those of its parent are kept there from being collected, because that would reach for
threads that a child does not have.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from llm_observe.tracing.export import marked
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.route import Route
from llm_observe.tracing.export.target import LOOPBACK
from llm_observe.tracing.export.tls import bundle, read

MAX_ANSWER_BYTES = 64 * 1024
"""Largest answer that is taken; an OTLP answer has a few dozen bytes."""

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.primary_user_agent", "llm-observe"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),  # when to try again is the worker's decision
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_send_message_length", -1),
)

_KEEPALIVE_MS = 2 * 3600 * 1000
_CLOSING_S = 1.0

_open: set[grpc.Channel] = set()
_inherited: list[set[grpc.Channel]] = []


class ChannelWire:
    """The channel of one call, as `llm_observe.tracing.export.exchange.Wire`."""

    def __init__(self, channel: grpc.Channel, mark: int) -> None:
        self._channel, self._mark = channel, mark

    def forget(self) -> None:
        """Cancel the call, drop what gRPC still holds of it, close the connection.

        Closing the channel alone would not end a call whose bytes nobody takes: gRPC then waits
        for the socket, past the call's time limit too.
        """
        marked.forget(self._mark)
        _close(self._channel)

    def close(self) -> None:
        """gRPC closes a socket a moment after its channel."""
        marked.gone(self._mark, _CLOSING_S)


class Channels:
    """The channel of one worker. Not for use by two threads at once."""

    def __init__(self) -> None:
        self._made: tuple[Route, grpc.Channel, int] | None = None

    def to(self, route: Route) -> tuple[grpc.Channel, ChannelWire]:
        """The channel that goes this way, and how it is ended; connects when it is used.

        Raises:
            KeyFault: A certificate or a proxy that cannot be used.
        """
        if self._made is None or self._made[0] != route:
            self.close()  # the destination has moved
            mark = marked.new_mark()
            channel = _new(route, mark)
            self._made = route, channel, mark
            _open.add(channel)
        return self._made[1], ChannelWire(*self._made[1:])

    def close(self) -> None:
        """Close it: its successor connects anew, and at once."""
        if self._made is not None:
            _close(self._made[1])
        self._made = None


def _new(route: Route, mark: int) -> grpc.Channel:
    parts = urlsplit(route.url)
    options = (
        *_OPTIONS,
        *_proxy(route, parts.netloc),
        ("grpc.enable_http_proxy", 1 if not route.proxy and parts.hostname not in LOOPBACK else 0),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", mark),
    )
    host = urlsplit(route.named_proxy).netloc or parts.netloc
    # With its scheme written out: a host may have the name of one (`unix`).
    target = f"dns:///{host}"
    if parts.scheme == "http":
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, _credentials(route), options)


def _proxy(route: Route, place: str) -> tuple[tuple[str, str], ...]:
    """As gRPC itself does with a proxy of the environment, which its `no_proxy` could veto.

    The name in the certificate is compared with the authority, that is with the endpoint.
    """
    if not route.named_proxy:
        return ()
    if urlsplit(route.named_proxy).scheme != "http":
        raise KeyFault(("proxy",), route.named_proxy, "an http:// URL, because of protocol grpc")
    found = (("grpc.http_connect_server", place), ("grpc.default_authority", place))
    if not route.authorization:
        return found
    told = f"Proxy-Authorization: {route.authorization}"
    return *found, ("grpc.http_connect_headers", told)


def _credentials(route: Route) -> grpc.ChannelCredentials:
    authorities, certificate, key = read(route.certificates)
    return grpc.ssl_channel_credentials(
        root_certificates=authorities or Path(bundle()).read_bytes(),
        private_key=key,
        certificate_chain=certificate,
    )


def _close(channel: grpc.Channel) -> None:
    _open.discard(channel)
    channel.close()


def _in_child() -> None:
    global _open
    _inherited.append(_open)
    _open = set()


os.register_at_fork(after_in_child=_in_child)
