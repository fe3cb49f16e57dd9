"""What a provider is: pure functions from a client's requests and answers to a `Call`.

A provider never touches a socket, a span or the caller's objects beyond reading them. The one
wrapper (`llm_observe.tracing.patch`) drives it, and guards it: a provider may raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from llm_observe.tracing.call import Call


class Target(NamedTuple):
    """One callable of a client library to wrap.

    ``call``: begins at once, returns a value or an iterator. ``lazy``: a generator function,
    which does nothing before its first step. ``part``: makes an object that belongs to the call
    around it, and is no call by itself.
    """

    module: str
    name: str
    kind: Literal["call", "lazy", "part"]


class Provider(Protocol):
    """One client library.

    Order for one call: ``begin``, then ``part`` any number of times, then either ``result`` or
    (``opened``, ``chunk``…), then ``end`` once, also after a failure or a break-off.
    """

    @property
    def name(self) -> str:
        """Name in settings and reports: ``replicate``."""

    @property
    def library(self) -> str:
        """Distribution on the package index."""

    @property
    def majors(self) -> tuple[int, ...]:
        """Major versions that the targets fit."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """What to wrap; the module of the first is the one whose import is awaited."""

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, streaming: bool) -> Call:
        """The request."""

    def part(self, call: Call, value: Any) -> None:
        """An object that the library made inside the call."""

    def result(self, call: Call, value: Any) -> None:
        """The answer, whole."""

    def opened(self, call: Call) -> None:
        """The answer is an iterator which the caller now holds."""

    def chunk(self, call: Call, item: Any) -> str | None:
        """The text of one item of the stream; None if it holds none of the answer."""

    def end(self, call: Call) -> None:
        """The call is over: read what the library's objects know by now."""
