"""The arguments of a decorated function's call, by the names that the function gives them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

_OWNERS = frozenset({"self", "cls"})
_LONGEST_DESCRIPTION = 1024


class Arguments:
    """Reads the calls of one function. Made when it is decorated."""

    def __init__(self, function: Any) -> None:
        plain = _plain(function)
        self._fixed = function if isinstance(function, functools.partial) else functools.partial(id)
        self.description = (inspect.getdoc(plain) or "")[:_LONGEST_DESCRIPTION]
        self._signature: inspect.Signature | None = None
        self._owner = ""
        try:
            self._signature = inspect.signature(plain)
        except (ValueError, TypeError):  # some functions written in C have none
            return
        first = next(iter(self._signature.parameters), "")
        self._owner = first if first in _OWNERS else ""

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, without the object that a method is called on.

        Of a partial function all that the function itself gets.
        """
        args, kwargs = (*self._fixed.args, *args), {**self._fixed.keywords, **kwargs}
        if self._signature is None:
            return {"args": args, "kwargs": kwargs}
        try:
            found = dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError:  # the function itself will say what is wrong with them
            return {"args": args, "kwargs": kwargs}
        found.pop(self._owner, None)
        return found


def function_name(function: Any) -> str:
    """The qualified name of a function, of whatever it is wrapped in."""
    plain = _plain(function)
    name = getattr(plain, "__qualname__", "") or type(plain).__qualname__
    return str(name).rpartition("<locals>.")[2]


def _plain(function: Any) -> Any:
    if isinstance(function, classmethod | staticmethod):
        return _plain(function.__func__)
    return _plain(function.func) if isinstance(function, functools.partial) else function
