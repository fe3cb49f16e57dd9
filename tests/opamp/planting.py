"""Plants the faults of `tests.opamp.faults`, one at a time, and sees whether a test notices.

::

    python -m tests.opamp.planting            # all of them
    python -m tests.opamp.planting C-04 L-11  # some

Each fault is planted in a process of its own, forked before anything of ours is loaded.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest

from tests.opamp.conformance import file_of
from tests.opamp.faults import FAULTS, Fault

PACKAGE = "llm_observe"
ROOT = Path(__file__).parents[2]
# Not those that pytest loads as plugins by itself.
LIBRARIES = ("httpx", "starlette.applications", "trustme", "uvicorn", "websockets.sync.server")
DEADLINE_S = "3"


def source_of(fault: Fault) -> Path:
    """The file that a fault changes."""
    return ROOT.joinpath(*fault.name.split(".")).with_suffix(".py")


def changed(fault: Fault) -> str:
    """The source with the fault in it. Raises `ValueError` where it no longer fits."""
    source = source_of(fault).read_text()
    if source.count(fault.old) != 1 or fault.old == fault.new:
        raise ValueError(f"{fault.old!r} stands {source.count(fault.old)} times in {fault.module}")
    return source.replace(fault.old, fault.new)


class Planted(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Loads one module with a fault in it."""

    def __init__(self, fault: Fault) -> None:
        self._name = fault.name
        self._file, self._source = str(source_of(fault)), changed(fault)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=self._file)

    def get_source(self, fullname: str) -> str:
        return self._source


class Verdict(Enum):
    """What came of the tests."""

    PASSED = 0
    FAILED = 1
    BROKEN = 2
    """They did not run at all, which shows nothing."""


class _Watcher:
    """A plugin that tells a test that failed from one that could not run."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed
        self.failed += report.when == "call" and report.failed

    @property
    def verdict(self) -> Verdict:
        if self.failed:
            return Verdict.FAILED
        return Verdict.PASSED if self.passed else Verdict.BROKEN


def tried(faults: Sequence[Fault], *, planted: bool) -> Verdict:
    """Run the tests of faults, with the first one planted or with none. Forks.

    Nothing of ours may be loaded here.
    """
    assert not [name for name in sys.modules if name.startswith(PACKAGE)]
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(_run(faults, planted=planted).value)
        finally:
            os._exit(Verdict.BROKEN.value)
    return Verdict(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _run(faults: Sequence[Fault], *, planted: bool) -> Verdict:
    os.environ["OPAMP_TEST_DEADLINE_S"] = DEADLINE_S
    if planted:
        sys.meta_path.insert(0, Planted(faults[0]))
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    watcher = _Watcher()
    # The libraries that pytest has plugins of are loaded already, which it would complain about.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider"]
    tests = [f"{file_of(fault.file)}::{fault.test}" for fault in faults]
    pytest.main(["-q", "-x", *quiet, "--rootdir", str(ROOT), *dict.fromkeys(tests)], [watcher])
    return watcher.verdict


def main(rows: Sequence[str]) -> int:
    """Non-zero where a fault was planted and nothing failed."""
    for library in LIBRARIES:
        importlib.import_module(library)
    chosen = {row: FAULTS[row] for row in rows or FAULTS}
    if tried(list(chosen.values()), planted=False) is not Verdict.PASSED:
        print("the tests do not pass without any fault: nothing can be said")
        return 1
    unnoticed = []
    for row, fault in chosen.items():
        began = time.monotonic()
        verdict = tried([fault], planted=True)
        print(f"{row} {verdict.name.lower()} {time.monotonic() - began:.1f} s", flush=True)
        unnoticed += [] if verdict is Verdict.FAILED else [row]
    print(f"{len(chosen)} faults planted, not noticed: {', '.join(unnoticed) or 'none'}")
    return len(unnoticed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
