"""Plants the faults of `tests.privacy.faults`, one at a time, and sees which sequence leaks first.

::

    python -m tests.privacy.planting           # all of them
    python -m tests.privacy.planting events    # some, by name

Each is planted in a process of its own.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tests.privacy.faults import FAULTS, Fault

PACKAGE = "llm_observe"
ROOT = Path(__file__).parents[2]
MOST = 400
"""Sequences that are tried, at most, until one leaks."""
_TIMEOUT_S = 600


def source_of(fault: Fault) -> Path:
    """The file that a fault changes."""
    return ROOT.joinpath(PACKAGE, *fault.module.split(".")).with_suffix(".py")


def changed(fault: Fault) -> str:
    """The source with the fault in it. Raises `ValueError` where it no longer fits."""
    source = source_of(fault).read_text()
    if source.count(fault.old) != 1 or fault.old == fault.new:
        raise ValueError(f"{fault.old!r} stands {source.count(fault.old)} times in {fault.module}")
    return source.replace(fault.old, fault.new)


class Planted(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Loads one module with a fault in it."""

    def __init__(self, fault: Fault) -> None:
        self._name = f"{PACKAGE}.{fault.module}"
        self._file, self._source = str(source_of(fault)), changed(fault)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=self._file)

    def get_source(self, fullname: str) -> str:
        return self._source


def first_leak(name: str) -> tuple[int, list[str]] | None:
    """The number of the first sequence that leaks with this fault, and what leaked."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.privacy.planting", "--plant", name],
        cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"with {name!r} planted the sequences do not run:\n{done.stderr}")
    found = json.loads(done.stdout)
    return (found["sequence"], found["leaks"]) if found else None


def plant(name: str) -> None:
    """In this process, before anything of ours is loaded; prints what came of it."""
    sys.meta_path.insert(0, Planted(FAULTS[name]))
    sequences = importlib.import_module("tests.privacy.sequences")
    found = sequences.tally(MOST, stop_at_leak=True).leaks
    for seed, leaks in found.items():
        print(json.dumps({"sequence": seed, "leaks": sorted({str(leak) for leak in leaks})}))
    if not found:
        print("null")


def main(arguments: Sequence[str]) -> int:
    """Non-zero where a fault was planted and no sequence leaked."""
    if arguments[:1] == ["--plant"]:
        plant(arguments[1])
        return 0
    unnoticed = []
    for name in arguments or FAULTS:
        began = time.monotonic()
        found = first_leak(name)
        seconds = f"{time.monotonic() - began:.0f} s"
        if found is None:
            unnoticed.append(name)
        told = f"sequence {found[0]}: {'; '.join(found[1])[:100]}" if found else "NOT NOTICED"
        print(f"{name}: {told}, {seconds}", flush=True)
    print(f"{len(arguments or FAULTS)} faults planted, not noticed: {unnoticed or 'none'}")
    return len(unnoticed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
