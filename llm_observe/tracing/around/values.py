"""Values of the app as text for an attribute, within bounds.

Objects of strangers are never asked for their text: that could be slow, or have effects. Their
type is told instead. Data classes and pydantic models are read field by field.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import numbers
import pathlib
import uuid
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

MAX_CHARACTERS = 256 * 1024
"""Text of one value, all its parts together; what is beyond is cut, and the cut is marked."""
MAX_ITEMS = 200
"""Items of one container."""
MAX_NODES = 20_000
"""Values of one value, all its parts together."""
MAX_DEPTH = 8

TEXT, JSON = "text/plain", "application/json"
_PLAIN = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, pathlib.PurePath)  # fmt: skip
_LONGEST_INT_BITS = 256


def encode(value: Any) -> tuple[str, str]:
    """The value as text, and its MIME type: a text as it is, all else as JSON.

    Later changes by the caller cannot reach it. Cycles end as ``<cycle>``.
    """
    bounds = Bounds()
    if isinstance(value, str):
        return bounds.text(value), TEXT
    return json.dumps(bounds.copy(value), ensure_ascii=False), JSON


def encode_object(value: Mapping[str, Any]) -> str:
    """A mapping as a JSON object, within the same bounds."""
    return json.dumps(Bounds().copy(value), ensure_ascii=False)


class Bounds:
    """What one value may still take."""

    def __init__(self, characters: int = MAX_CHARACTERS) -> None:
        self._characters, self._nodes = characters, MAX_NODES
        self._above: set[int] = set()

    def text(self, value: str) -> str:
        """A text, cut where the bound is."""
        kept = str.__str__(value[: self._characters])
        self._characters -= len(kept)
        missing = len(value) - len(kept)
        return f"{kept}… ({missing} characters more)" if missing else kept

    def copy(self, value: Any) -> Any:
        """A copy of plain JSON data."""
        self._nodes -= 1
        if self._nodes < 0:
            return "…"
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self.copy(value.value)
        return self._single(value) if isinstance(value, str | int | float) else self._other(value)

    def _single(self, value: str | int | float) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int):
            return int(value) if value.bit_length() <= _LONGEST_INT_BITS else "<int>"
        return float(value) if math.isfinite(value) else str(float(value))

    def _other(self, value: Any) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{type(value).__name__} of {len(value)}>"
        if type(value) in _PLAIN or isinstance(value, pathlib.PurePath):
            return self.text(str(value))
        if issubclass(type(value), numbers.Real):
            return self._number(value)
        if id(value) in self._above:
            return "<cycle>"
        if len(self._above) >= MAX_DEPTH:
            return f"<{type(value).__name__}>"
        self._above.add(id(value))
        try:
            return self._inside(value)
        finally:
            self._above.discard(id(value))

    def _number(self, value: numbers.Real) -> Any:
        """A number of a library's own, such as numpy's."""
        try:
            return self._single(int(value) if isinstance(value, numbers.Integral) else float(value))
        except (ArithmeticError, TypeError, ValueError):  # too large, or not a number after all
            return f"<{type(value).__name__}>"

    def _inside(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value.items(), len(value))
        if isinstance(value, list | tuple | set | frozenset):
            return self._list(value)
        fields = _fields(value)
        return f"<{type(value).__name__}>" if fields is None else self._mapping(fields.items(), 0)

    def _mapping(self, items: Iterable[tuple[Any, Any]], count: int) -> dict[str, Any]:
        copied = {self._key(key): self.copy(item) for key, item in islice(items, MAX_ITEMS)}
        if count > MAX_ITEMS:
            copied["…"] = f"{count - MAX_ITEMS} more"
        return copied

    def _list(self, items: Any) -> list[Any]:
        copied = [self.copy(item) for item in islice(items, MAX_ITEMS)]
        return [*copied, f"… {len(items) - MAX_ITEMS} more"] if len(items) > MAX_ITEMS else copied

    def _key(self, key: Any) -> str:
        return self.text(key) if isinstance(key, str) else str(self.copy(key))


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a data class or a pydantic model, without running code of theirs."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif isinstance(kind.__dict__.get("__pydantic_fields__"), dict):
        names = list(kind.__dict__["__pydantic_fields__"])
    else:
        return None
    held = getattr(value, "__dict__", None)
    if held is None:  # a data class with slots
        return {name: getattr(value, name, None) for name in names}
    return {name: held[name] for name in names if name in held}
