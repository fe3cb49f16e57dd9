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
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from llm_observe.tracing.export import marked
from llm_observe.tracing.export.target import LOOPBACK
from llm_observe.tracing.export.tls import bundle, certificates

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
    """The channels of one worker, by URL. Not for use by two threads at once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._channels: dict[str, tuple[grpc.Channel, int]] = {}

    def to(self, url: str) -> tuple[grpc.Channel, ChannelWire]:
        """The channel to ``scheme://host:port``, and how it is ended; connects when it is used.

        Raises:
            OSError: A certificate cannot be read.
        """
        if url not in self._channels:
            self.close()  # the destination has moved
            mark = marked.new_mark()
            channel = _new(url, self._environ, mark)
            self._channels[url] = channel, mark
            _open.add(channel)
        found = self._channels[url]
        return found[0], ChannelWire(*found)

    def drop(self, url: str) -> None:
        """Close a channel: its successor connects anew, and at once."""
        found = self._channels.pop(url, None)
        if found is not None:
            _close(found[0])

    def close(self) -> None:
        """Close all of them."""
        for url in [*self._channels]:
            self.drop(url)


def _new(url: str, environ: Mapping[str, str], mark: int) -> grpc.Channel:
    parts = urlsplit(url)
    # With its scheme written out: a host may have the name of one (`unix`).
    target = f"dns:///{parts.netloc}"
    here = parts.hostname in LOOPBACK
    options = (
        *_OPTIONS,
        ("grpc.enable_http_proxy", 0 if here else 1),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", mark),
    )
    if parts.scheme == "http":
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, _credentials(environ), options)


def _credentials(environ: Mapping[str, str]) -> grpc.ChannelCredentials:
    named = certificates(environ)
    return grpc.ssl_channel_credentials(
        root_certificates=_read(named.authorities or bundle()),
        private_key=_read(named.key),
        certificate_chain=_read(named.certificate),
    )


def _read(path: str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def _close(channel: grpc.Channel) -> None:
    _open.discard(channel)
    channel.close()


def _in_child() -> None:
    global _open
    _inherited.append(_open)
    _open = set()


os.register_at_fork(after_in_child=_in_child)
