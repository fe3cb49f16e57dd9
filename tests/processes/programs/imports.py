"""A program that tells which modules were loaded by other threads while a fork was possible."""

from __future__ import annotations

import sys
import threading
import time

import llm_observe
from llm_observe.tracing.export import late
from tests.processes.programs.work import ask, open_stream, say

_unguarded: set[tuple[str, str]] = set()
_here = threading.get_ident()


def _loads(event: str, arguments: tuple[object, ...]) -> None:
    if event == "import" and threading.get_ident() != _here and not late.held():
        _unguarded.add((str(arguments[0]), threading.current_thread().name))


if __name__ == "__main__":
    sys.addaudithook(_loads)
    llm_observe.observe()
    ask(2)
    for _ in open_stream():
        pass
    say("asked")
    sys.stdin.readline()
    ask(1, "call +44 20 7946 0958 or mail kim@example.com")
    time.sleep(0.5)  # the metrics of the calls, and what the threads do of themselves
    llm_observe.flush(5)
    say(sorted(_unguarded))
