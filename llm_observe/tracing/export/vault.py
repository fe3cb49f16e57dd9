"""Secrets that came with a destination which a control plane offered: held here, named elsewhere.

Settings, effective configurations and logs hold the name alone, ``offer:`` and a short hash; the
secret is read where a request is made (`llm_observe.tracing.export.headers`). A forked child
inherits all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

KIND = "offer"

_held: dict[str, str] = {}


def reference(secret: str) -> str:
    """How settings name a secret: two can be told apart, and neither be read."""
    return f"{KIND}:{_name(secret)}"


def hold(secrets: Iterable[str]) -> None:
    """Hold these and no others, from now on; in one step for whoever reads."""
    global _held
    _held = {_name(secret): secret for secret in secrets}


def read(name: str) -> str:
    """The secret of this name; empty where it is not held any more."""
    return _held.get(name, "")


def _name(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:8]
