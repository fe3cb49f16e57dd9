"""Standing in for the default action of a signal that ends the process.

The default action of SIGTERM kills at once, without `atexit`: what ended in the last half
second is lost. So wherever the default action is in force, or is put in force later, a handler of
ours stands in for it: it flushes, within bounds, and then lets the default action happen, so
that whoever waits for this process sees the same death by the same signal.

A handler of the application is never touched, wrapped or called by us. What the application
sees stays the same too: `signal.getsignal` and the return value of `signal.signal` say
``SIG_DFL`` where ours stands in for it. That is why both functions are replaced: a server that
restores ``SIG_DFL`` and raises the signal again (uvicorn does, after its graceful stop) gets our
stand-in. Code that took the functions out of the module before us gets the bare default.

Python runs handlers in the main thread, between two of its instructions: a main thread that is
inside foreign code which never returns dies later than it would have without us.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any

FATAL = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)
)
"""Signals whose default action ends the process. (Python's own SIGINT handler raises
KeyboardInterrupt and is not the default action; it is left alone like any other.)"""

_set, _get, _raise = signal.signal, signal.getsignal, signal.raise_signal
_last_words: Callable[[], object] | None = None


def stand_in(last_words: Callable[[], object]) -> None:
    """Call ``last_words`` before the default action of a fatal signal, from now on.

    It runs in the main thread between any two of its instructions, so it must not want a lock
    that this thread may hold; it bounds its own time and never raises. Called from another thread
    than the main one, this covers only what the program sets later: Python changes handlers in
    the main thread alone.
    """
    global _last_words
    _last_words = last_words
    if signal.signal is not _signal:
        signal.signal, signal.getsignal = _signal, _getsignal
    if threading.current_thread() is threading.main_thread():
        for number in FATAL:
            if _get(number) == signal.SIG_DFL:
                _set(number, _guard)


def stand_down() -> None:
    """Leave the signals alone again, as far as the calling thread may."""
    global _last_words
    _last_words = None
    if signal.signal is _signal:
        signal.signal, signal.getsignal = _set, _get
    if threading.current_thread() is threading.main_thread():
        for number in FATAL:
            if _get(number) is _guard:
                _set(number, signal.SIG_DFL)


def _guard(number: int, frame: FrameType | None) -> None:
    # First the default: a second signal means that somebody does not want to wait.
    _set(number, signal.SIG_DFL)
    words = _last_words
    if words is not None:
        words()
    _raise(number)


@wraps(_set)
def _signal(signalnum: Any, handler: Any) -> Any:
    if handler == signal.SIG_DFL and signalnum in FATAL:
        handler = _guard
    return _seen(_set(signalnum, handler))


@wraps(_get)
def _getsignal(signalnum: Any) -> Any:
    return _seen(_get(signalnum))


def _seen(handler: Any) -> Any:
    return signal.SIG_DFL if handler is _guard else handler
