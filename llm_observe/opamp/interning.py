"""Equal values once: what most agents of a fleet report, and are offered, is the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

MAX_VALUES = 256
"""Of each kind, so that none crowds out another."""

MAX_BYTES = 64 * 1024
"""Larger values are not shared, so that what is kept for sharing stays bounded."""

T = TypeVar("T")


class Interned:
    """The values seen last, by kind and by what they were made from."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, OrderedDict[Hashable, Any]] = {}

    def count(self, kind: str) -> int:
        """How many values of a kind are kept."""
        return len(self._values.get(kind, ()))

    def value(self, kind: str, key: Hashable, make: Callable[[], T], *, size: int) -> T:
        """The value of ``key``, of ``size`` bytes: the one known already, or the one made now."""
        if size > MAX_BYTES:
            return make()
        values = self._values.setdefault(kind, OrderedDict())
        if key in values:
            values.move_to_end(key)
            known: T = values[key]
            return known
        made = values[key] = make()
        if len(values) > MAX_VALUES:
            values.popitem(last=False)
        return made
