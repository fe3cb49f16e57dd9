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
from types import ModuleType

_LOADING = threading.RLock()


def load(name: str) -> ModuleType:
    """Import a module by its full name; blocks while another thread of ours imports."""
    with _LOADING:
        return importlib.import_module(name)


# Both sides release: in the child the forking thread lives on as the lock's owner.
os.register_at_fork(
    before=_LOADING.acquire, after_in_parent=_LOADING.release, after_in_child=_LOADING.release
)
