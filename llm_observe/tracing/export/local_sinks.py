"""Destinations on the machine of the program: a file, and the console. Senders, as `backend` has them.

Both write lines of OTLP/JSON. Heavy: loaded through `late`.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Mapping
from typing import TextIO

from llm_observe.settings.model import Destination
from llm_observe.tracing.export import appending, folders, jsonlines
from llm_observe.tracing.export.exchange import Aborted, Exchange
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.target import Signal
from llm_observe.tracing.export.verdict import OK, Answer

_MIB = 1024 * 1024
_PIECE = 512
"""Bytes that a pipe takes without waiting, once it says that it takes any (POSIX's PIPE_BUF)."""
_POLL_S = 0.1


class Flag:
    """What stands for a connection here, as `exchange.Wire`: the writer looks at it between pieces."""

    def __init__(self) -> None:
        self._gone = threading.Event()

    @property
    def gone(self) -> bool:
        """Whether nothing more may be written."""
        return self._gone.is_set()

    def forget(self) -> None:
        """Write nothing more."""
        self._gone.set()

    def close(self) -> None:
        """Nothing is kept open."""


class FileSink:
    """Appends to a file in a folder that the local side permits."""

    def post(
        self,
        destination: Destination,
        signal: Signal,
        body: bytes,
        headers: Mapping[str, str],
        exchange: Exchange,
    ) -> Answer:
        """Append the lines of a request; an empty one only tries whether they could be.

        Raises:
            KeyFault: The file may not lie there.
        """
        folder, names = folders.parted(destination.path)
        most = int(destination.file_mib * _MIB)
        place = appending.Place(folder, names, most, destination.file_keep)
        flag, until = Flag(), time.monotonic() + destination.timeout_s
        lines = [*jsonlines.lines(signal, body)]
        try:
            exchange.opened(flag)
            appending.append(place, lines, until, lambda: flag.gone)
        except Aborted:
            return Answer(0, "aborted")
        except OSError as error:
            return _blamed("path", destination.path, error)
        finally:
            exchange.close()
        return Answer(0, "aborted") if flag.gone else Answer(0, code=OK)

    def close(self) -> None:
        """Nothing is kept open."""


class Console:
    """Writes to the standard error, as much as it takes and no more: it never waits for a reader."""

    def __init__(self) -> None:
        self._within_a_line = False

    def post(
        self,
        destination: Destination,
        signal: Signal,
        body: bytes,
        headers: Mapping[str, str],
        exchange: Exchange,
    ) -> Answer:
        """Write the lines of a request; an empty one only tries whether there is a console.

        Raises:
            KeyFault: There is none.
        """
        stream, flag = _standard_error(), Flag()
        until = time.monotonic() + destination.timeout_s
        lines = [*jsonlines.lines(signal, body)]
        try:
            exchange.opened(flag)
            for line in lines:
                self._write(stream, line, until, flag)
        except Aborted:
            return Answer(0, "aborted")
        except (OSError, ValueError) as error:
            return _blamed("protocol", "console", error)
        finally:
            exchange.close()
        return Answer(0, code=OK)

    def close(self) -> None:
        """It is not ours to close."""

    def _write(self, stream: TextIO, line: bytes, until: float, flag: Flag) -> None:
        fd = _descriptor(stream)
        if fd is None:  # a notebook, a test
            stream.write(line.decode())
            stream.flush()
            return
        left = memoryview(b"\n" + line if self._within_a_line else line)
        while left:
            _await_room(fd, until, flag)
            left = left[os.write(fd, left[:_PIECE]) :]
            self._within_a_line = bool(left)


def _standard_error() -> TextIO:
    stream = sys.stderr
    if stream is None or stream.closed:
        raise KeyFault(("protocol",), "console, without a standard error", "another protocol")
    return stream


def _descriptor(stream: TextIO) -> int | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return stream.fileno()
    return None


def _await_room(fd: int, until: float, flag: Flag) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    while not flag.gone:
        if poll.poll(_POLL_S * 1000):
            return
        if time.monotonic() >= until:
            raise TimeoutError(0, "nobody reads the standard error")
    raise Aborted("aborted while it was written")


def _blamed(key: str, found: str, error: Exception) -> Answer:
    why = (getattr(error, "strerror", None) or type(error).__name__).lower()
    fault = KeyFault((key,), f"{found}: {why}", "one that can be written")
    return Answer(0, f"{found}: {why}", fault=fault)
