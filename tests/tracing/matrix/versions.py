"""Other versions of the client, each in a cached folder of its own outside the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OLDEST = "1.0.0"
NEXT = "2.0.0b4"
_ALSO = {NEXT: ("distro", "sniffio")}
"""What a version needs beside the packages of the environment."""
_INSTALL_DEADLINE_S = 600
_BEFORE = dict(os.environ)
"""With the authorities that an installer needs; the tests have only one."""


def folder(version: str) -> Path:
    """Where a version of the client can be imported from; installed there the first time."""
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    wanted = _cache() / f"replicate-{version}-{python}"
    if not wanted.is_dir():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=wanted.parent))
        _install(version, made)
        _move(made, wanted)
    return wanted


def environment(version: str) -> dict[str, str]:
    """The environment of a child process that imports that version."""
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(folder(version)), *([before] if before else [])])
    return {**os.environ, "PYTHONPATH": path, "LLM_OBSERVE_MATRIX_CLIENT": version}


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "llm-observe" / "clients"


def _install(version: str, target: Path) -> None:
    packages = [f"replicate=={version}", *_ALSO.get(version, ())]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run(
        [*command, "--disable-pip-version-check", "--target", str(target), *packages],
        env=_BEFORE,
        check=True,
        timeout=_INSTALL_DEADLINE_S,
    )


def _move(made: Path, wanted: Path) -> None:
    """In one step, so that a folder is whole or absent; another process may have been faster."""
    try:
        made.rename(wanted)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        if not wanted.is_dir():
            raise
