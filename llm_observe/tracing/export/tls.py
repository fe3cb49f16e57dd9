"""Whom we trust and who we are, under TLS: as the OpenTelemetry variables say. Pure but for files.

Verification is never switched off.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import certifi

_PREFIX = "OTEL_EXPORTER_OTLP_"
_BUNDLES = ("ca-certificates.crt", "ca-bundle.crt")


class Certificates(NamedTuple):
    """Paths of PEM files; None where none is named."""

    authorities: str | None
    """Trusted instead of the usual authorities."""
    certificate: str | None
    """Shown to the server."""
    key: str | None
    """The private key of ``certificate``."""


def certificates(environ: Mapping[str, str]) -> Certificates:
    """What the variables name (OTLP exporter, "Certificate File", "Client certificate file")."""
    names = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    return Certificates(*(environ.get(f"{_PREFIX}{name}", "").strip() or None for name in names))


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
