"""Lines appended to a file that several processes write, and that makes room for itself.

Opened from a permitted folder on, name by name, and no link is followed (`O_NOFOLLOW`): what the
local side permits is a folder, not what somebody links it to. Each append holds an exclusive
`flock`, so that lines of processes never mix and only one of them moves the file aside.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

MOST_KEPT = 20
"""The most files that are kept beside the one that is written."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_PRIVATE = 0o600
_POLL_S = 0.005


class Unusable(OSError):
    """A file that is there, and not for us; ``strerror`` says why."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EPERM, why)


@dataclass(frozen=True, slots=True)
class Place:
    """A file below a folder, and how large it may grow."""

    folder: str
    names: Sequence[str]
    most_bytes: int
    kept: int
    """Files that are kept beside it, ``NAME.1`` the newest."""


def append(
    place: Place, lines: Iterable[bytes], until: float, gone: Callable[[], bool] = lambda: False
) -> None:
    """Append whole lines; a file that would grow beyond its bound is moved aside before.

    Without lines the file is only made, and looked at. Between two lines ``gone`` may end it.

    Raises:
        OSError: It cannot be opened, locked before ``until`` (monotonic clock), or written.
    """
    with _folder(place) as folder:
        fd = _locked(folder, place.names[-1], until)
        try:
            for line in lines:
                if gone():
                    return
                fd = _with_room(fd, folder, place, len(line), until)
                _write(fd, line)
        finally:
            _let_go(fd)


@contextlib.contextmanager
def _folder(place: Place) -> Iterator[int]:
    fd = os.open(place.folder, _FOLDER)
    try:
        for name in place.names[:-1]:
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _locked(folder: int, name: str, until: float) -> int:
    """The file under this name at this moment, which nobody else writes now."""
    while True:
        fd = _opened(folder, name)
        try:
            if _lock(fd) and _is(fd, folder, name):
                _look(fd)
                return fd
        except BaseException:
            _let_go(fd)
            raise
        _let_go(fd)
        if time.monotonic() >= until:
            raise Unusable("locked by another process")
        time.sleep(_POLL_S)


def _opened(folder: int, name: str) -> int:
    try:
        return os.open(name, _FILE, _PRIVATE, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Unusable("a link, which is not followed") from None
        raise


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _let_go(fd: int) -> None:
    """Unlocked by name: a child that was forked meanwhile has the descriptor too, and keeps it."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _is(fd: int, folder: int, name: str) -> bool:
    """Whether it was not moved aside between opening and locking."""
    mine = os.fstat(fd)
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _look(fd: int) -> None:
    """Ours to write, and for nobody else to read."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("no plain file")
    if found.st_nlink > 1:
        raise Unusable("a file with several names")
    if found.st_uid != os.geteuid():
        raise Unusable("a file of another user")
    if found.st_size and os.pread(fd, 1, 0) != b"{":
        raise Unusable("a file of something else")
    if stat.S_IMODE(found.st_mode) != _PRIVATE:
        os.fchmod(fd, _PRIVATE)
    if found.st_size and os.pread(fd, 1, found.st_size - 1) != b"\n":
        _write(fd, b"\n")  # behind a line that a process was killed in


def _with_room(fd: int, folder: int, place: Place, size: int, until: float) -> int:
    """The same file, or a new one because this line would be too much for it."""
    now = os.fstat(fd).st_size
    if not now or now + size <= place.most_bytes:
        return fd
    name = place.names[-1]
    _make_way(folder, name, place.kept)
    new = _locked(folder, name, until)
    _let_go(fd)
    return new


def _make_way(folder: int, name: str, kept: int) -> None:
    for number in range(MOST_KEPT, max(kept, 1) - 1, -1):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{name}.{number}", dir_fd=folder)
    for number in range(kept - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            os.rename(
                f"{name}.{number}", f"{name}.{number + 1}", src_dir_fd=folder, dst_dir_fd=folder
            )
    if kept:
        os.rename(name, f"{name}.1", src_dir_fd=folder, dst_dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def _write(fd: int, line: bytes) -> None:
    """All of it or nothing: a disk that is full must not leave half a line."""
    before, left = os.fstat(fd).st_size, memoryview(line)
    try:
        while left:
            left = left[os.write(fd, left) :]
    except OSError:
        os.ftruncate(fd, before)
        raise
