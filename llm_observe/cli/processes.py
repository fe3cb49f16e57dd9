"""Child processes that are started together, watched together and stopped together.

Each child leads its own process group, so that Ctrl-C reaches this program alone and it ends the
children in order; and on Linux the kernel ends them should this program be killed outright.
What a child prints goes to a log file, of which the last lines are shown if it dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from llm_observe.errors import LLMObserveError

TAIL_LINES = 15
TAIL_BYTES = 16 * 1024


class ChildDied(LLMObserveError):
    """A child ended that should have gone on."""

    def __init__(self, name: str, code: int, last_lines: str, log: Path) -> None:
        self.name, self.code, self.last_lines, self.log = name, code, last_lines, log
        super().__init__(name, code)

    def __str__(self) -> str:
        ended = f"was ended by signal {-self.code}" if self.code < 0 else f"ended with {self.code}"
        return f"{self.name} {ended}; its last lines (all in {self.log}):\n{self.last_lines}"


class ChildSilent(LLMObserveError):
    """A child does not answer within its deadline."""

    def __init__(self, name: str, url: str, deadline_s: float, last_lines: str) -> None:
        self.name, self.url, self.deadline_s, self.last_lines = name, url, deadline_s, last_lines
        super().__init__(name, url)

    def __str__(self) -> str:
        return f"{self.name} does not answer at {self.url} after {self.deadline_s:g} s; its last lines:\n{self.last_lines}"


@dataclass(frozen=True, slots=True)
class Program:
    """What to start, and how to see that it is there."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready_url: str
    """Answers with a status below 400 when the program is ready."""
    deadline_s: float = 60.0


@dataclass
class Child:
    """One started program."""

    program: Program
    process: subprocess.Popen[bytes]
    log: Path
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, program: Program, log: Path) -> Child:
        """Start a program with its output in ``log``.

        Raises:
            OSError: The program or the log file cannot be opened.
        """
        with log.open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603  # our own programs, no shell
                program.command,
                env=dict(program.environment),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        return cls(program, process, log)

    def check(self) -> None:
        """Raise `ChildDied` if it ended, `ChildSilent` if its deadline has passed."""
        code = self.process.poll()
        if code is not None:
            raise ChildDied(self.program.name, code, self.tail(), self.log)

    def overdue(self) -> bool:
        """Whether it has had more time to become ready than it may need."""
        return time.monotonic() - self.started > self.program.deadline_s

    def ready(self) -> bool:
        """Whether it answers now.

        Raises:
            ChildDied: It ended.
            ChildSilent: It is overdue.
        """
        self.check()
        if answers(self.program.ready_url):
            return True
        if self.overdue():
            program = self.program
            raise ChildSilent(program.name, program.ready_url, program.deadline_s, self.tail())
        return False

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its output."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError as error:
            return f"(no output: {error.strerror})"
        return "\n".join(text.splitlines()[-lines:]) or "(no output)"

    def signal(self, number: int) -> None:
        """Send a signal to the child and to all it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self, patience_s: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """Ask it to end, and end it if it does not within ``patience_s`` or if in a hurry."""
        self.signal(signal.SIGTERM)
        end = time.monotonic() + patience_s
        while self.process.poll() is None and time.monotonic() < end and not hurry():
            time.sleep(0.05)
        self.signal(signal.SIGKILL)  # also what it may have left behind in its group
        self.process.wait()


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """Whether an HTTP server answers there with a status below 400."""
    return _get(url, timeout_s) is not None


def report(url: str, timeout_s: float = 2.0) -> dict[str, Any]:
    """What a program says of itself as a JSON object; empty where it says nothing readable."""
    try:
        said = json.loads(_get(url, timeout_s) or b"{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _get(url: str, timeout_s: float) -> bytes | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as response:
            return bytes(response.read(TAIL_BYTES))
    except (OSError, HTTPException, ValueError):
        return None


def port_taken(port: int, host: str = "127.0.0.1") -> bool:
    """Whether another program listens on a port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
