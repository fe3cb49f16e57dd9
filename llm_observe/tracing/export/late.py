"""The one door through which heavy modules are loaded, away from the application's threads.

OTLP encoding, urllib3 and the metrics SDK cost some 200 ms to import. They are wanted only
where spans leave, so the workers load them on their own threads, through here.

A process that forks while another thread imports leaves the child with a module lock that
nobody will ever release. So a fork waits until no import of ours is under way.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_LONGEST_WAIT_S = 2.0
_LOADING = threading.RLock()
_held = False


def load(name: str) -> ModuleType:
    """Import a module by its full name; blocks while another thread of ours imports."""
    with _LOADING:
        return importlib.import_module(name)


@contextmanager
def undisturbed() -> Iterator[None]:
    """No fork while this runs: for what loads modules by itself, as pydantic does."""
    with _LOADING:
        yield


def held() -> bool:
    """Whether this thread keeps forks waiting."""
    return bool(_LOADING._is_owned())  # type: ignore[attr-defined]


def hold(timeout_s: float) -> bool:
    """The interpreter ends: wait until no import of ours is under way, and let none begin.

    A daemon thread that is killed inside an import takes the import system's locks with it, and
    whoever imports while modules are torn down waits for ever.
    """
    return _LOADING.acquire(timeout=timeout_s)


def _before_fork() -> None:
    global _held
    # Bounded: the importing thread may itself wait for a module that the forking one imports.
    _held = _LOADING.acquire(timeout=_LONGEST_WAIT_S)


def _in_parent() -> None:
    if _held:
        _LOADING.release()


def _in_child() -> None:
    global _LOADING
    _LOADING = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
