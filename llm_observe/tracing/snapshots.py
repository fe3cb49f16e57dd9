"""Copies of the caller's values, as JSON, which nothing that the caller does later can change."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

MAX_ITEMS = 200
"""Items of one container that `snapshot` copies."""

FIXED = frozenset({str, int, float, bool, type(None)})
"""Types whose values never change."""

_TEXT = frozenset({str})


def snapshot(value: Any, depth: int = 4) -> Any:
    """A JSON-ready copy that later changes by the caller cannot reach.

    Objects that are no JSON become ``<type name>``: they are neither kept alive nor asked for
    their text, which could be slow or have effects. Containers are cut at `MAX_ITEMS`.
    """
    kind = type(value)
    if kind in FIXED:
        return value
    if kind is dict and depth and _is_flat(value):
        return value.copy()
    return _snapshot(value, depth)


def _is_flat(value: dict[Any, Any]) -> bool:
    """Nearly all there is, such as the turns of a conversation; asked without a loop of ours."""
    return (
        len(value) <= MAX_ITEMS
        and FIXED.issuperset(map(type, value.values()))
        and _TEXT.issuperset(map(type, value))
    )


def _snapshot(value: Any, depth: int) -> Any:
    if isinstance(value, str | int | float):  # classes of the app's own, such as enums
        return value
    if depth and isinstance(value, Mapping):
        pairs = islice(value.items(), MAX_ITEMS)
        return {str(key): snapshot(item, depth - 1) for key, item in pairs}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [snapshot(item, depth - 1) for item in islice(value, MAX_ITEMS)]
    return f"<{type(value).__name__}>"
