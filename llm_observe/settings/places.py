"""What may stand in a destination: addresses, references to secrets, files. Pure.

A value can be checked here as far as it says something by itself; layers are merged per key, so
what two keys mean together is told where the destination is asked (`llm_observe.tracing.export.probe`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import SplitResult, urlsplit

from llm_observe.errors import Problem
from llm_observe.settings.documents import Fragment, join_path
from llm_observe.settings.model import Destination

REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*(#[^\s#]+)?|file:/\S+")
"""How a secret is named: where it can be read, never what it is."""

DIRECT = "direct"
"""As a proxy: none."""

LOCAL = frozenset({"file", "console"})
"""Protocols of destinations on the machine of the program, which a local limit must permit."""

_FILE_REFERENCE = re.compile(r"file:/\S+")
_SECRET_QUERY = re.compile(r"(?i)(key|token|secret|password|auth|sig)")
_A_REFERENCE = "a reference: env:NAME or file:/PATH"
_CERTIFICATES = ("ca", "client_certificate", "client_key")


def mask(secret: str) -> str:
    """``***`` and a short hash: two secrets can be told apart and neither be read."""
    return f"***({hashlib.sha256(secret.encode()).hexdigest()[:8]})"


def place(destination: Destination) -> str:
    """Where it sends to, for people; empty as long as nothing says so."""
    named = {"file": destination.path, "console": "standard error"}
    return named.get(destination.protocol, destination.endpoint)


def lies_in(path: str, folder: str) -> bool:
    """Whether an absolute path is one below a folder, by its letters. No link is looked at."""
    inner, outer = PurePosixPath(path), PurePosixPath(folder)
    plain = inner.is_absolute() and ".." not in inner.parts
    return plain and inner != outer and inner.is_relative_to(outer)


def destination_problems(name: str, destination: Fragment) -> Iterator[Problem]:
    """One problem per wrong key of one destination, whose types are right."""
    for key, found, expected in _problems(destination):
        yield Problem(join_path(("destinations", name, *key)), found, expected)


_Found = tuple[tuple[str, ...], str, str]
"""Key, what was found, what was expected."""


def _problems(destination: Fragment) -> Iterator[_Found]:
    if "endpoint" in destination:
        grpc = destination.get("protocol") == "grpc"
        for found, expected in _endpoint_problems(destination["endpoint"], grpc):
            yield ("endpoint",), found, expected
    for header, value in destination.get("headers", {}).items():
        if not REFERENCE.fullmatch(value):
            yield ("headers", header), f"a literal value {mask(value)}", _A_REFERENCE
    yield from _file_problems(destination)
    path = destination.get("path", "")
    if path and not _is_plain(path):
        yield ("path",), json.dumps(path), "an absolute path of a file, without .."
    yield from _proxy_problems(destination)


def _file_problems(destination: Fragment) -> Iterator[_Found]:
    for key in _CERTIFICATES:
        value = destination.get(key, "")
        if value and not _FILE_REFERENCE.fullmatch(value):
            yield (key,), f"no reference {mask(value)}", "a PEM file: file:/PATH"


def _is_plain(path: str) -> bool:
    return path.isprintable() and not path.endswith("/") and lies_in(path, "/")


def _proxy_problems(destination: Fragment) -> Iterator[_Found]:
    secret = destination.get("proxy_authorization", "")
    if secret and not REFERENCE.fullmatch(secret):
        yield ("proxy_authorization",), f"a literal value {mask(secret)}", _A_REFERENCE
    proxy = destination.get("proxy", "")
    if proxy in {"", DIRECT}:
        return
    url = _url(proxy)
    if _has_secret(proxy):
        found = f"a URL with a secret in it {mask(proxy)}"
        yield ("proxy",), found, "the secret in proxy_authorization, by reference"
    elif url is None or url.path.strip("/") or url.query or url.fragment:
        yield ("proxy",), json.dumps(proxy), f"{DIRECT}, or a URL such as http://proxy:3128"
    elif url.scheme == "https" and destination.get("protocol") == "grpc":
        yield ("proxy",), json.dumps(proxy), "an http:// URL, because of protocol grpc"


def _endpoint_problems(endpoint: str, grpc: bool) -> Iterator[tuple[str, str]]:
    url = _url(endpoint)
    if _has_secret(endpoint):
        yield f"a URL with a secret in it {mask(endpoint)}", "the secret in headers, by reference"
    elif url is None:
        yield json.dumps(endpoint), "an http:// or https:// URL"
    elif url.fragment or url.query:
        yield json.dumps(endpoint), "a URL without query and fragment"
    elif grpc and url.path not in {"", "/"}:
        yield json.dumps(endpoint), "a URL without a path, because of protocol grpc"


def _has_secret(text: str) -> bool:
    """Whether it is, or was meant to be, a URL with credentials in it."""
    query = text.partition("?")[2]
    return "@" in text or bool(_SECRET_QUERY.search(query))


def _url(text: str) -> SplitResult | None:
    """An http or https URL with a host, taken apart; else None."""
    try:
        url = urlsplit(text)
        valid = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return None
    return url if valid else None
