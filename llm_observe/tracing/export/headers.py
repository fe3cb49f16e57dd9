"""Request headers from references: the secret is read here, when it is sent, and goes nowhere else.

``env:NAME`` is a variable's value, ``env:NAME#key`` one entry of a variable that holds
``key=value,…`` (as ``OTEL_EXPORTER_OTLP_HEADERS`` does, url-encoded), ``file:/PATH`` a file's
content without surrounding blanks, ``offer:HASH`` a secret that came with a destination which a
control plane offered; settings cannot name those. They are read for each request, so a rotated token is used
from the next request on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from llm_observe.settings.model import Destination
from llm_observe.tracing.export import vault
from llm_observe.tracing.export.faults import KeyFault

MAX_FILE_BYTES = 64 * 1024
"""Largest file that is read for a header."""


class Names(NamedTuple):
    """The header names that a protocol lets a user set."""

    allowed: re.Pattern[str]
    reserved: re.Pattern[str]
    expected: str


_NAMES: dict[str, Names] = {
    "http/protobuf": Names(
        re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
        re.compile(r"content-(type|encoding|length)|host|transfer-encoding"),
        "a header name that may be set",
    ),
    # gRPC over HTTP2, "Custom-Metadata"; names in -bin hold bytes, which a reference cannot name.
    "grpc": Names(
        re.compile(r"[0-9A-Za-z_.-]+"),
        re.compile(r"grpc-.*|.*-bin|content-type|te|user-agent|host"),
        "a name that gRPC metadata may have",
    ),
}


def resolve(destination: Destination, environ: Mapping[str, str]) -> dict[str, str]:
    """The destination's header names (lower case; gRPC's metadata) to values.

    Raises:
        KeyFault: The first reference that cannot be read, or a name or value that the
            destination's protocol does not have.
    """
    return dict(_resolved(destination, environ))


def _resolved(destination: Destination, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    names = _NAMES.get(destination.protocol)
    if names is None:  # nobody to tell them to
        return
    for header, reference in destination.headers.items():
        key, lower = ("headers", header), header.lower()
        if not names.allowed.fullmatch(lower) or names.reserved.fullmatch(lower):
            raise KeyFault(key, "this name", names.expected)
        yield lower, read_reference(key, reference, environ)


def read_reference(key: tuple[str, ...], reference: str, environ: Mapping[str, str]) -> str:
    """The secret that a reference names.

    Raises:
        KeyFault: It cannot be read, or is no text that a header can hold.
    """
    value = _read(key, reference, environ)
    if not value or not value.isprintable() or not value.isascii():
        raise KeyFault(key, f"an unusable value in {_where(reference)}", "printable ASCII text")
    return value


def _read(key: tuple[str, ...], reference: str, environ: Mapping[str, str]) -> str:
    kind, _, rest = reference.partition(":")
    if kind == "env":
        return _from_environment(key, rest, environ)
    if kind == "file":
        return _from_file(key, Path(rest))
    if kind == vault.KIND:
        return vault.read(rest)
    raise KeyFault(key, "no reference", "env:NAME or file:/PATH")


def _from_environment(key: tuple[str, ...], name: str, environ: Mapping[str, str]) -> str:
    name, _, wanted = name.partition("#")
    text = environ.get(name, "").strip()
    if not text:
        raise KeyFault(key, f"no value in {name}", "an environment variable that is set")
    if not wanted:
        return text
    for entry, value in parse_header_list(text):
        if entry.lower() == wanted.lower():
            return value
    raise KeyFault(key, f"no entry {wanted} in {name}", "key=value pairs, separated by commas")


def parse_header_list(text: str) -> Iterator[tuple[str, str]]:
    """``a=1,b=2`` to pairs, url-decoded (OTLP exporter, "Specifying headers via environment variables")."""
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            yield unquote(name).strip(), unquote(value).strip()


def _from_file(key: tuple[str, ...], path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFault(
            key, f"{path}: {error.strerror or 'unreadable'}", "a readable file"
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise KeyFault(key, f"{path}: over {MAX_FILE_BYTES} bytes", "a file with a header value")
    return data.decode("utf-8", "replace").strip()


def _where(reference: str) -> str:
    return reference.partition(":")[2]
