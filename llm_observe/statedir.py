"""Files that survive a crash: written whole or not at all, readable by their owner only.

A state folder is claimed by one process at a time. Where the disk is read-only or the
folder cannot be made, callers fall back to memory and say so in their health.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llm_observe.errors import StateError

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_SLOTS = 64


def default_root() -> Path:
    """Where state lives when nobody says otherwise: ``$XDG_STATE_HOME/llm-observe``."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "llm-observe"


def safe_name(name: str) -> str:
    """A service name as a file name: other characters become ``_``, never empty or hidden."""
    return _UNSAFE.sub("_", name).lstrip(".")[:80] or "_"


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``; after a crash either the old or the new content is there.

    The file is created with mode 0600, synced, renamed, and the folder is synced.

    Raises:
        OSError: The disk is full or read-only; the old content is untouched.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def read_bytes(path: Path, limit: int = 4 * 1024 * 1024) -> bytes | None:
    """The file's content, or None where there is none.

    Raises:
        StateError: The file is larger than ``limit`` bytes or unreadable.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > limit:
        raise StateError(f"{path} is larger than {limit} bytes")
    return data


class StateDir:
    """One locked folder of one running process.

    ``claim`` tries slots ``0, 1, 2 …`` below ``root/name`` and locks the first free one, so
    two processes of one service never share files, and a restarted one finds its own again.
    The lock ends with the process, also after ``kill -9``.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def claim(cls, root: Path, name: str) -> StateDir:
        """Lock the first free slot.

        Raises:
            StateError: The folder cannot be made or locked, or all slots are taken.
        """
        try:
            for slot in _slots(root / safe_name(name)):
                lock = _try_lock(slot / "lock")
                if lock is not None:
                    return cls(slot, lock)
        except OSError as error:
            raise StateError(f"cannot use {root}: {error.strerror or error}") from error
        raise StateError(f"all {_MAX_SLOTS} slots below {root} are in use")

    def read(self, name: str) -> bytes | None:
        """The content of file ``name``, or None."""
        return read_bytes(self.path / name)

    def write(self, name: str, data: bytes) -> None:
        """Replace file ``name`` atomically.

        Raises:
            StateError: The disk is full or read-only; the old content is untouched.
        """
        try:
            write_atomic(self.path / name, data)
        except OSError as error:
            raise StateError(f"cannot write {self.path / name}: {error.strerror}") from error

    def delete(self, name: str) -> None:
        """Remove file ``name`` if it is there."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / name).unlink()

    def release(self) -> None:
        """Give the slot back; the files stay."""
        os.close(self._lock)


def _slots(folder: Path) -> Iterator[Path]:
    for number in range(_MAX_SLOTS):
        slot = folder / str(number)
        slot.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield slot


def _try_lock(path: Path) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:
        os.close(handle)
        raise
    return handle


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
