"""The ends of a process that run code, and what is said last at each of them.

| end | door |
| --- | --- |
| the program returns, `sys.exit`, an exception, KeyboardInterrupt | `atexit` |
| the default action of SIGTERM, SIGHUP, SIGINT | `llm_observe.agent.signals` |
| a `multiprocessing` child returns (its process ends by `os._exit`) | `multiprocessing.util.Finalize` |

`os._exit`, SIGKILL and a crash run nothing; no door leads there.

The doors are hung once per process and stay; what they lead to is the callable given last.
Forked children inherit all of it.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import wrapt

from llm_observe.agent import signals
from llm_observe.tracing.export import late
from llm_observe.tracing.gate import gate

_UTIL = "multiprocessing.util"
_PRIORITY = -1000
"""The last of the child's finalizers: its queues and its own children have ended by then."""

LONGEST_S = 2.0
"""The end is delayed by so much at most, whatever hangs."""

_LONGEST_IMPORT_S = 10.0
"""A script may end while we still load our modules; to end in the middle of it may never end."""

LastWords = Callable[[], object]


def _nothing() -> None:
    """Nothing to do."""


class Exits:
    """The doors of this process. `open` and `close` may alternate."""

    def __init__(self) -> None:
        self._last_words: LastWords | None = None
        self._make_ready: LastWords = _nothing
        self._hung = False
        self._renew()

    def open(
        self, last_words: LastWords, make_ready: LastWords = _nothing, *, use_signals: bool = True
    ) -> None:
        """Run ``last_words`` once, when the process ends. It never raises.

        ``make_ready`` runs before it, when the main thread has ended and threads may still be
        started; since Python 3.12 that is so no longer when `atexit` runs.
        """
        self._last_words, self._make_ready = last_words, make_ready
        self._renew()
        atexit.unregister(self._at_exit)  # the last registered runs first
        atexit.register(self._at_exit)
        if not self._hung:
            self._hung = True
            wrapt.register_post_import_hook(self._found_multiprocessing, _UTIL)
            os.register_at_fork(after_in_child=self._renew)
            # Not public, and what `concurrent.futures` of the standard library uses.
            register = getattr(threading, "_register_atexit", None)
            if register is not None:
                register(self._main_thread_ended)
        if use_signals:
            signals.stand_in(self.speak)

    def close(self) -> None:
        """Run nothing any more."""
        self._last_words, self._make_ready = None, _nothing
        signals.stand_down()

    def _main_thread_ended(self) -> None:
        with gate:
            self._make_ready()

    def speak(self) -> None:
        """The last words, if there are any: begin them, or wait for those under way.

        They run on a thread of their own: a signal may come while the main thread waits for
        them, or holds a lock that they want. Whoever comes waits `LONGEST_S` at most.
        """
        if self._last_words is None:
            return
        if self._unspoken.acquire(blocking=False):
            try:
                # Below `threading`, whose start() takes a lock that interrupted code may hold.
                _thread.start_new_thread(self._run, (self._last_words,))
            except RuntimeError:  # Python 3.12 starts no thread at the end, nor does a full system
                self._run(self._last_words)
        if self._spoken.acquire(timeout=LONGEST_S):
            self._spoken.release()

    def _run(self, words: LastWords) -> None:
        try:
            with gate:
                words()
        finally:
            self._spoken.release()

    def _renew(self) -> None:
        """Bare locks: a signal handler may use them in the middle of themselves."""
        self._unspoken, self._spoken = _thread.allocate_lock(), _thread.allocate_lock()
        self._spoken.acquire()

    def _at_exit(self) -> None:
        try:
            self.speak()
        finally:  # a second Ctrl-C ends the wait, not the care
            late.hold(_LONGEST_IMPORT_S)
            if _interrupted():
                _remember_the_interrupt()

    # -- multiprocessing ----------------------------------------------------------------------

    def _found_multiprocessing(self, util: Any) -> None:
        """Imported now or before us; this costs a program that never imports it nothing.

        A child forgets the finalizers it inherited, then runs the after-fork functions, whatever
        its start method. Where `observe` is called by the child's own function, both have passed.
        """
        with gate:  # this runs inside the app's import
            util.register_after_fork(self, lambda _: self._watch_child(util))
            if util.process.parent_process() is not None:
                self._watch_child(util)

    def _watch_child(self, util: Any) -> None:
        util.Finalize(None, self._child_returned, exitpriority=_PRIORITY)

    def _child_returned(self) -> None:
        """`multiprocessing` joins the child's other threads after this, and ends it abruptly."""
        others = [thread for thread in threading.enumerate() if _outlives(thread)]
        if others:
            threading.Thread(target=self._after, args=(others,), name="llm-observe-last").start()
        else:
            self.speak()

    def _after(self, others: list[threading.Thread]) -> None:
        """On a thread that is joined like those it waits for."""
        for thread in others:
            thread.join()
        self.speak()


def _interrupted() -> bool:
    """Whether the program ended with a KeyboardInterrupt that nobody caught."""
    kind = getattr(sys, "last_type", None)
    interactive = hasattr(sys, "ps1") or sys.flags.interactive
    return kind is not None and issubclass(kind, KeyboardInterrupt) and not interactive


def _remember_the_interrupt() -> None:
    """Python ends such a program by SIGINT, unless a string was run as code since.

    Modules that our threads load at the end do that (`dataclasses`, `namedtuple`), and the
    program would end with status 1. Whoever runs the string that raises sets the mark again.
    """
    with suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # noqa: S102  # a constant; see above


def _outlives(thread: threading.Thread) -> bool:
    main = threading.current_thread(), threading.main_thread()
    return thread not in main and not thread.daemon and thread.is_alive()


exits = Exits()
"""This process's doors."""
