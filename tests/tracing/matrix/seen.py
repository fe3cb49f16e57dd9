"""What a caller saw of one call, in a form that can be compared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from opentelemetry.trace import get_current_span

Plain = Any
"""Made of tuples, strings and numbers; equal where the caller can see no difference."""

_PREDICTION = ("status", "output", "error", "logs", "model", "version", "input")


@dataclass(slots=True)
class Seen:
    """All of it. Ids and times, which differ from call to call, are left out."""

    returned: Plain = None
    items: list[Plain] = field(default_factory=list)
    value: Plain = None
    error: Plain = None
    text: str = ""
    """What of the answer the caller has."""
    raised: str = ""
    """Type of the exception; the exception itself would keep what the caller dropped."""
    current: list[int] = field(default_factory=list, compare=False)
    """Ids of the span that was current in the caller's code."""

    def opened(self, value: Any) -> Any:
        """The library returned this; it is handed on."""
        self.returned = _surface_of(value)
        self._look()
        return value

    def item(self, item: Any) -> None:
        """One step of a stream."""
        self.items.append(plain(item))
        self.text += text_of(item)
        self._look()

    def answer(self, value: Any) -> None:
        """The whole answer."""
        self.value = plain(value)
        self.text = text_of(value)
        self._look()

    def failed(self, error: BaseException) -> None:
        """What came out instead."""
        self.raised = type(error).__qualname__
        said = "" if isinstance(error, asyncio.CancelledError) else str(error)  # of whom and where
        self.error = (type(error).__module__, self.raised, said)

    def _look(self) -> None:
        self.current.append(get_current_span().get_span_context().span_id)


def plain(value: Any) -> Plain:
    """A value, with the types that the caller can see."""
    kind = type(value).__qualname__
    if hasattr(value, "status") and hasattr(value, "created_at"):
        return (kind, *(plain(getattr(value, name, None)) for name in _PREDICTION), _keys(value))
    if hasattr(value, "event") and hasattr(value, "data"):
        return (kind, plain(value.event), plain(value.data))
    if isinstance(value, list | tuple):
        return (kind, *map(plain, value))
    if isinstance(value, dict):
        return (kind, *((key, plain(item)) for key, item in sorted(value.items())))
    if isinstance(value, Enum):
        return (kind, value.value)
    return (kind, str(value)) if isinstance(value, str | int | float | None) else kind


def text_of(value: Any) -> str:
    """The text of an answer or of a piece of one."""
    if hasattr(value, "status") and hasattr(value, "output"):
        return text_of(value.output)
    if isinstance(value, list):
        return "".join(map(text_of, value))
    return "" if value is None else str(value)


def _keys(prediction: Any) -> tuple[str, ...]:
    dump = prediction.model_dump if hasattr(prediction, "model_dump") else prediction.dict
    return tuple(sorted(dump()))


_SPECIAL = ("__len__", "__getitem__", "__copy__", "__enter__", "__aenter__", "__await__")
"""What a pool, ``itertools.tee`` and others ask for before they use it."""


def _surface_of(value: Any) -> Plain:
    """Class, names and iteration, as code that looks at them would find them."""
    shapes = (GeneratorType, AsyncGeneratorType, CoroutineType, Iterable, list, str)
    names = tuple(name for name in dir(value) if not name.startswith("_"))
    is_iterator = hasattr(value, "__next__") or hasattr(value, "__anext__")
    itself = is_iterator and (
        iter(value) is value if hasattr(value, "__next__") else aiter(value) is value
    )
    kinds = tuple(isinstance(value, shape) for shape in shapes)
    special = tuple(name for name in _SPECIAL if hasattr(value, name))
    return (value.__class__.__qualname__, kinds, is_iterator, itself, names, special)
