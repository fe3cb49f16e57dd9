"""Calls that have begun and not ended: all of them, and those that the app goes on with by itself.

One opened by a low-level ``create`` has no frame and no iterator that ends it. It is found again
by the object that the app holds, or by the server's id, and it ends at the latest when the app
drops the last such object, when nobody has touched it for `OPEN_S`, or with the process. There is
no thread for this: whoever begins a call, and the exporting worker, call `sweep`.

Everything here may run inside a finalizer at any point of any thread, so there is no lock: each
change is one operation on a dict, and copies are made of keys only, which allocates nothing that
could start the garbage collector in the middle.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any, Protocol

OPEN_S = 900.0
"""Seconds without a step after which an opened call is taken as abandoned."""

_SWEEP_S = 1.0


class Pending(Protocol):
    """A call that has begun."""

    keys: tuple[Hashable, ...]
    """The server's ids by which it is found while it is open."""
    anchors: dict[int, Any]
    """Weak references to the app's objects that stand for it, by their address."""

    @property
    def idle_s(self) -> float:
        """Seconds since it was last heard of."""

    def abandon(self) -> None:
        """End it, as of the moment when it was last heard of."""


_NEVER = object()
_running: dict[Pending, object] = {}
_by_key: dict[Hashable, Pending] = {}
_by_object: dict[int, Pending] = {}
_swept = time.monotonic()


def began(call: Pending) -> None:
    """A call has begun."""
    _running[call] = None


def is_running(call: Pending) -> bool:
    """Whether it has begun, in this process, and not ended."""
    return call in _running


def ended(call: Pending) -> bool:
    """A call has ended; True for the first who says so, and only then is it theirs to record."""
    if _running.pop(call, _NEVER) is _NEVER:
        return False
    for key in call.keys:
        if _by_key.get(key) is call:
            _by_key.pop(key, None)
    for address in list(call.anchors):
        _by_object.pop(address, None)
    call.anchors.clear()  # a weak reference that is gone calls nobody back
    return True


def hold(call: Pending, value: Any, anchor: Any, keys: Iterable[Hashable]) -> None:
    """The app goes on with ``value``: find the call by it and by these keys, while it lives.

    ``anchor`` is the value, or something that lives just as long and can be watched.
    """
    address = id(value)
    if address not in call.anchors:
        call.anchors[address] = weakref.ref(anchor, partial(_dropped, call, address))
        _by_object[address] = call
    call.keys = tuple({*call.keys, *keys})
    for key in call.keys:
        _by_key[key] = call


def of(value: Any) -> Pending | None:
    """The open call that the app goes on with by this object."""
    call = _by_object.get(id(value))
    return call if call is not None and id(value) in call.anchors else None


def named(key: Hashable) -> Pending | None:
    """The newest open call with this key."""
    return _by_key.get(key)


def any_running() -> bool:
    """Whether any call has begun and not ended."""
    return bool(_running)


def any_open() -> bool:
    """Whether any call is open; asked before anything that costs more."""
    return bool(_by_object)


def sweep(limit_s: float = OPEN_S) -> None:
    """End the opened calls that nobody has touched for long. Looks at most once a second."""
    global _swept
    now = time.monotonic()
    if _by_object and now - _swept >= _SWEEP_S:
        _swept = now
        end_idle(limit_s)


def end_idle(limit_s: float) -> None:
    """End the opened calls that nobody has touched for so many seconds."""
    for address in list(_by_object):
        call = _by_object.get(address)
        if call is not None and call.idle_s >= limit_s:
            call.abandon()


def end_all() -> None:
    """The process ends: end every call as far as it has come."""
    for call in list(_running):
        call.abandon()


def _dropped(call: Pending, address: int, _: object) -> None:
    if call.anchors.pop(address, None) is None:
        return
    _by_object.pop(address, None)
    if not call.anchors:
        call.abandon()


def _forget() -> None:
    """In a forked child: calls that have begun are the parent's to end."""
    _running.clear()
    _by_key.clear()
    _by_object.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
