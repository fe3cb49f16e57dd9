"""Equal values once: what most agents of a fleet report, and are offered, is the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

MAX_VALUES = 256
MAX_BYTES = 64 * 1024
"""Larger values are not shared, so that what is kept for sharing stays bounded."""

T = TypeVar("T")


class Interned:
    """The values seen last, by the bytes that they were made from."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: OrderedDict[tuple[str, bytes], Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def value(self, kind: str, data: bytes, make: Callable[[], T]) -> T:
        """The value of some bytes: the one known already, or the one made now."""
        if len(data) > MAX_BYTES:
            return make()
        key = (kind, data)
        if key in self._values:
            self._values.move_to_end(key)
            known: T = self._values[key]
            return known
        made = self._values[key] = make()
        if len(self._values) > MAX_VALUES:
            self._values.popitem(last=False)
        return made
