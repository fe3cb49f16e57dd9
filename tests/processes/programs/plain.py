"""A script that makes three calls and ends in the way that its argument says."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time

import llm_observe
from tests.processes.programs.work import ask, open_stream, say


def returns() -> None:
    pass


def exits() -> None:
    sys.exit(3)


def raises() -> None:
    raise RuntimeError("the program's own")


def fails_at_exit() -> None:
    atexit.register(raises)


def interrupts() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


def outlived_by_a_thread() -> None:
    def late() -> None:
        threading.main_thread().join()
        ask(2, "after main")

    threading.Thread(target=late).start()


def leaves_a_daemon() -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def breaks_a_stream_off() -> None:
    stream = open_stream("broken off")
    stream.close()


def ends_a_stream() -> None:
    for _ in open_stream("to its end"):
        pass


def waits() -> None:
    say("ready")
    time.sleep(60)


def waits_in_flush() -> None:
    say("ready")
    llm_observe.flush(60.0)


def waits_in_a_stream() -> None:
    stream = open_stream("under way")
    say("ready")
    time.sleep(60)
    stream.close()


def returns_in_a_stream() -> None:
    globals()["stream"] = open_stream("under way")


if __name__ == "__main__":
    llm_observe.observe()
    ask(3)
    globals()[sys.argv[1]]()
