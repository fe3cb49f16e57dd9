"""Values that OTLP can hold.

An encoder would log a value that it cannot encode, and that value may be a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LONGEST_INT = 2**63


def clean_text(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def clean(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that OTLP can hold. What it has no type for goes."""
    cleaned = {clean_text(str(key)): clean_value(value) for key, value in attributes.items()}
    return {key: value for key, value in cleaned.items() if value is not None}


def clean_value(value: Any) -> Any:
    """The value in a type that OTLP has; None if there is none for it.

    Nothing is asked for its text, and nothing is logged: a value may be a prompt.
    """
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return clean_text(str.__str__(value))  # a subclass is not asked for its own
    if isinstance(value, int):
        return int(value) if -_LONGEST_INT <= value < _LONGEST_INT else str(int(value))
    if isinstance(value, float | bytes):
        return float(value) if isinstance(value, float) else bytes(value)
    if isinstance(value, Mapping):
        return clean(value)
    if isinstance(value, list | tuple):
        return [item for item in map(clean_value, value) if item is not None]
    return None
