"""What a provider is: pure functions from a client's requests and answers to a `Call`.

On the app's threads a provider never touches a socket, a span or the caller's objects beyond
reading them. The one wrapper (`llm_observe.tracing.wrapping.patch`) drives it, and guards it: a provider may raise.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from llm_observe.tracing.call import Call

Kind = Literal[
    "call",
    "async_call",
    "lazy",
    "async_lazy",
    "open",
    "async_open",
    "follow",
    "async_follow",
    "follow_lazy",
    "async_follow_lazy",
]
"""How a callable takes part in calls, and its shape.

======================  ==========================================================================
``call``                begins a call and returns its answer, or an iterator of it (of any kind)
``lazy``                a generator function: begins a call at its first step
``open``                begins a call and returns an object with which the app goes on: it is over
                        when a ``follow`` says so, when the last such object is dropped, or after
                        `llm_observe.tracing.wrapping.inflight.OPEN_S` without a step
``follow``              goes on with an opened call: waits, reloads, cancels
``follow_lazy``         a generator function that streams the answer of an opened call
======================  ==========================================================================

``async_call``, ``async_open`` and ``async_follow`` are coroutine functions, ``async_lazy`` and
``async_follow_lazy`` async generator functions. All of them begin at their first step, not when
they are called. Inside a call of the same provider, ``call`` and ``lazy`` are no further call, and
what ``open`` returns is a part of the call around it. A ``follow`` of what we did not open is the
library's own function, untouched.
"""

Request = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Call]
"""Makes the call from the instance, the arguments and the keyword arguments."""
Subject = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Hashable]
"""One of `Provider.keys`, from the same."""


class Target(NamedTuple):
    """One callable of a client library to wrap."""

    module: str
    name: str
    kind: Kind
    request: Request | None = None
    """The call that begins; for all kinds but the follows."""
    subject: Subject | None = None
    """Which opened call a follow goes on with, by the server's id among its arguments. None: that
    of the object whose method it is."""
    ends: bool = False
    """A follow after which the call is over, whatever the server says: it was cancelled."""
    optional: bool = False
    """Not all supported versions of the library have it."""


class Provider(Protocol):
    """One client library.

    Order for one call: a target's ``request``; ``part`` any number of times; then ``result`` with
    the whole answer, or ``opened``, ``reader`` and its function per item (a lazy call begins with
    ``reader``), or neither for a call that stays open; ``end`` once, also after a failure or a
    break-off. After an open and after each follow come ``part``, ``over`` and, if not, ``keys``.
    """

    @property
    def name(self) -> str:
        """Name in settings and reports: ``replicate``. Two providers may share it, one for each
        major version of a library."""

    @property
    def library(self) -> str:
        """Distribution on the package index."""

    @property
    def majors(self) -> tuple[int, ...]:
        """Major versions that the targets fit."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """What to wrap; the module of the first is the one whose import is awaited."""

    def part(self, call: Call, value: Any) -> None:
        """An object that the library made inside the call, or that an open or a follow returned.

        Of a follow that returns None it is the object whose method that is.
        """

    def result(self, call: Call, value: Any) -> None:
        """The answer, whole."""

    def opened(self, call: Call) -> None:
        """The answer is an iterator which the caller now holds."""

    def reader(self, call: Call) -> Callable[[Any], object]:
        """What is given each item of the stream, on the caller's thread, before the caller.

        It must be quick and keep nothing that the caller may change: usually it appends
        ``(time.perf_counter_ns(), text)`` to ``call.received``. What needs work is done late, by
        ``call.text_of``, which turns the second part into text, or None, on a worker.
        """

    def anchor(self, value: Any) -> Any:
        """Something to refer to weakly that lives as long as an object which an open or a follow
        returned: the object itself, unless its class forbids that."""

    def keys(self, call: Call) -> tuple[Hashable, ...]:
        """The server's ids, by which a ``subject`` finds an opened call."""

    def over(self, call: Call) -> bool:
        """Whether the answer of an opened call is there."""

    def end(self, call: Call) -> None:
        """The call is over: take what the library's objects know by now.

        On the caller's thread, so what needs work goes into ``call.late``.
        """
