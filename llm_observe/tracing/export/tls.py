"""Whom we trust and who we are, under TLS: as the destination says, else the OpenTelemetry variables.

Verification is never switched off.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import certifi

from llm_observe.settings.model import Destination
from llm_observe.tracing.export.faults import KeyFault

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Largest file that is read; a bundle with the usual authorities has some 200 KB."""

_PREFIX = "OTEL_EXPORTER_OTLP_"
_BUNDLES = ("ca-certificates.crt", "ca-bundle.crt")
_KEYS = ("ca", "client_certificate", "client_key")
_BEGIN = b"-----BEGIN CERTIFICATE"


class Certificates(NamedTuple):
    """Paths of PEM files; None where none is named."""

    authorities: str | None
    """Trusted instead of the usual authorities."""
    certificate: str | None
    """Shown to the server."""
    key: str | None
    """The private key of ``certificate``."""


Stamps = tuple[tuple[int, int] | None, ...]
"""Of each file its time of change (ns) and size: another one means another file."""


def certificates(destination: Destination, environ: Mapping[str, str]) -> Certificates:
    """The files that a destination names, else those that the variables name.

    A certificate and its key come from one place (OTLP exporter, "Certificate File", "Client
    certificate file").

    Raises:
        KeyFault: A key without a certificate.
    """
    names = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    usual = Certificates(*(environ.get(f"{_PREFIX}{x}", "").strip() or None for x in names))
    ca, certificate, key = (getattr(destination, x).removeprefix("file:") or None for x in _KEYS)
    if key and not certificate:
        raise KeyFault(("client_certificate",), "nothing", "a certificate, because of client_key")
    mine = (certificate, key or certificate) if certificate else usual[1:]
    return Certificates(ca or usual.authorities, *mine)


def stamps(named: Certificates) -> Stamps:
    """What to tell by whether a file has been replaced."""
    return tuple(None if path is None else _stamp(path) for path in named)


def read(named: Certificates) -> tuple[bytes | None, ...]:
    """The contents of all three, checked.

    Raises:
        KeyFault: A file cannot be read or used.
    """
    fill(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), named)
    return tuple(None if path is None else Path(path).read_bytes() for path in named)


def fill(context: ssl.SSLContext, named: Certificates) -> None:
    """Trust these authorities, else the usual ones, and show this certificate.

    Raises:
        KeyFault: A file cannot be read or used.
    """
    for key, path in zip(_KEYS, named, strict=True):
        _check(key, path)
    if named.authorities:
        _trust(context, named.authorities)
    elif system_has_store():
        context.load_default_certs()
    else:
        context.load_verify_locations(certifi.where())
    if named.certificate:
        _show(context, named.certificate, named.key)


def system_has_store() -> bool:
    """Whether OpenSSL finds authorities of the system's by itself."""
    system = ssl.get_default_verify_paths()
    return bool(system.cafile or system.capath)


def bundle() -> str:
    """One file with the usual authorities: the system's, else certifi's."""
    system = ssl.get_default_verify_paths()
    folders = [Path(system.capath)] if system.capath else []
    files = [folder / name for folder in folders for name in _BUNDLES]
    there = [system.cafile, *(str(file) for file in files if file.is_file()), certifi.where()]
    return next(path for path in there if path)


def _trust(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise KeyFault(("ca",), f"{path}: no certificate", "a PEM file with some") from None


def _show(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    asked: list[bool] = []

    def password() -> str:  # never from the terminal, where OpenSSL would ask
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        raise _of_pair(certificate, key or certificate, error, bool(asked)) from None


def _of_pair(certificate: str, key: str, error: ssl.SSLError, encrypted: bool) -> KeyFault:
    if _BEGIN not in Path(certificate).read_bytes():
        found = f"{certificate}: no certificate"
        return KeyFault(("client_certificate",), found, "a PEM file with one")
    if encrypted:
        return KeyFault(("client_key",), f"{key}: an encrypted key", "one that is not")
    if error.reason == "KEY_VALUES_MISMATCH":
        return KeyFault(("client_key",), f"{key}: the key of another certificate", "its own")
    return KeyFault(("client_key",), f"{key}: no usable key", "a PEM file with one")


def _check(key: str, path: str | None) -> None:
    """A plain file of a sane size: OpenSSL would read a device for ever."""
    if path is None:
        return
    try:
        why = _refusal(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        why = (getattr(error, "strerror", None) or "no path").lower()
    if why:
        raise KeyFault((key,), f"{path}: {why}", "a readable PEM file")


def _refusal(path: str) -> str:
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        return "no plain file"
    with open(path, "rb"):
        return f"over {MAX_FILE_BYTES} bytes" if found.st_size > MAX_FILE_BYTES else ""


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
