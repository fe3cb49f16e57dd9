"""What the core's tests may not do: touch a socket, start a thread or a process, sleep.

The core is the files beside this one but for those `ASIDE`; ``-m opamp_core`` chooses them.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

HERE = Path(__file__).parent
ASIDE = {
    "test_agreement.py": "a state machine",
    "test_conversation.py": "a state machine",
    "test_crashing.py": "a state machine",
    "test_fuzz.py": "fuzzing",
    "test_conformance.py": "about the tests",
    "test_guide.py": "real sockets",
    "test_import.py": "processes of their own",
}
_FORBIDDEN: tuple[tuple[Any, str], ...] = (
    (socket, "socket"),
    (subprocess, "Popen"),
    (threading.Thread, "start"),
    (time, "sleep"),
)


def is_core(path: Path) -> bool:
    return path.parent == HERE and path.name not in ASIDE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_core(item.path):
            item.add_marker("opamp_core")


@pytest.fixture(autouse=True, scope="module")
def _alone(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in _FORBIDDEN if is_core(request.path) else ():
            patch.setattr(owner, name, _refuse)
        yield


def _refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError("the core's tests touch no socket, thread, process or clock")
