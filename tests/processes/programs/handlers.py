"""A script with a SIGTERM handler of its own, set before or after it is observed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import llm_observe
from tests.processes.programs.work import ask, say


def leave(number: int, frame: FrameType | None) -> None:
    say("handled")
    sys.exit(7)


def go_on(number: int, frame: FrameType | None) -> None:
    say("handled")


def die(number: int, frame: FrameType | None) -> None:
    """The usual way to die of the signal after cleaning up."""
    say("handled")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def die_by_raise(number: int, frame: FrameType | None) -> None:
    say("handled")
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


HANDLERS: dict[str, Any] = {
    "leave": leave,
    "go_on": go_on,
    "die": die,
    "die_by_raise": die_by_raise,
    "ignore": signal.SIG_IGN,
    "default": signal.SIG_DFL,
    "none": None,
}


def main(name: str, when: str) -> None:
    handler = HANDLERS[name]
    if handler is not None and when == "before":
        signal.signal(signal.SIGTERM, handler)
    if when == "thread":
        thread = threading.Thread(target=llm_observe.observe)
        thread.start()
        thread.join()
    else:
        llm_observe.observe()
    if handler is not None and when != "before":
        signal.signal(signal.SIGTERM, handler)
    ask(3)
    expected = signal.SIG_DFL if handler is None else handler
    say(signal.getsignal(signal.SIGTERM) == expected)
    say("ready")
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:3])
