"""Records with many fields of which each instance has few, made at the cost of those few.

A call has forty fields and uses fifteen. A data class sets them all, which would be a third of what
it costs the caller's thread to make one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    sparse = dataclasses.dataclass(kw_only=True)
else:
    sparse = dataclasses.dataclass(init=False, repr=False, eq=False)


def _made(record: Any, name: str) -> Any:
    return type(record).__dataclass_fields__[name].default_factory()


class Sparse:
    """Base of a record that is declared with `sparse`, as a data class with keywords only.

    It keeps what it was given. What has a default is a class attribute until it is set; what has a
    factory is made when it is first read. It has two clocks from the start, and no ``repr``, which
    would show content in logs.
    """

    MADE: ClassVar[dict[str, Callable[[Any, str], Any]]] = {}
    """Fields that are made of others when they are first read, and by what."""

    start_ns: int
    origin_ns: int

    def __init__(self, **known: Any) -> None:
        self.start_ns, self.origin_ns = time.time_ns(), time.perf_counter_ns()
        self.__dict__.update(known)

    def __getattr__(self, name: str) -> Any:
        """A field that has no value yet; further reads of it do not come here."""
        if name not in type(self).__dataclass_fields__:  # type: ignore[attr-defined]  # `sparse` adds it
            raise AttributeError(f"a {type(self).__name__.lower()} has no {name!r}")
        self.__dict__[name] = value = self.MADE.get(name, _made)(self, name)
        return value
