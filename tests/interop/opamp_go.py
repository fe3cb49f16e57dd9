"""opamp-go's client and server as processes: what they print, and orders for them to relay."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.interop.backends import peer

DEADLINE_S = 30.0
_RECIPE = tuple(
    f"opamp-go/{name}" for name in ("client/main.go", "go.mod", "go.sum", "server/main.go")
)
Line = dict[str, Any]


class Program:
    """A running Go program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[Line | None] = queue.Queue()
        self.heard: list[Line] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def tell(self, do: str, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self._process.stdin.flush()

    def hears(self, what: str, fits: Callable[[Line], Any]) -> Line:
        """The first line that fits, of those printed so far or to come."""
        for line in self.heard:
            if fits(line):
                return line
        while True:
            try:
                line_or_end = self._lines.get(timeout=DEADLINE_S)
            except queue.Empty:
                raise AssertionError(f"never: {what}; heard {self.heard}") from None
            assert line_or_end is not None, f"ended before: {what}; heard {self.heard}"
            self.heard.append(line_or_end)
            if fits(line_or_end):
                return line_or_end

    def event(self, name: str) -> Line:
        return self.hears(name, lambda line: line["event"] == name)


@contextmanager
def go(program: str, *arguments: str) -> Iterator[Program]:
    """``client`` or ``server``, ended with the block."""
    process = subprocess.Popen(
        [peer("opamp-go", program, *_RECIPE), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Program(process)
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()
