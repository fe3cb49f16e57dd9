"""The last words: once, bounded, and on no lock that an interrupted thread may hold."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_observe.agent import exits as module
from llm_observe.agent.exits import Exits
from llm_observe.tracing.gate import gate


@pytest.fixture
def doors() -> Iterator[Exits]:
    made = Exits()
    yield made
    made.close()
    atexit.unregister(made._at_exit)


def test_they_are_said_once_whoever_comes(doors: Exits) -> None:
    said: list[str] = []
    doors.open(lambda: said.append("last"), use_signals=False)
    for _ in range(3):
        doors.speak()
    assert said == ["last"]


def test_who_comes_later_waits_for_the_end(doors: Exits) -> None:
    begun, go, said = threading.Event(), threading.Event(), []

    def words() -> None:
        begun.set()
        go.wait(30)
        said.append("last")

    doors.open(words, use_signals=False)
    first = threading.Thread(target=doors.speak)
    first.start()
    begun.wait(30)
    threading.Timer(0.05, go.set).start()
    doors.speak()
    assert said == ["last"]
    first.join()


def test_nobody_waits_for_ever(doors: Exits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_S", 0.01)
    go = threading.Event()
    doors.open(lambda: go.wait(30), use_signals=False)
    doors.speak()
    doors.speak()
    go.set()


def test_a_fault_in_them_is_counted_and_holds_nobody_up(doors: Exits) -> None:
    before = gate.count
    doors.open(lambda: 1 / 0, use_signals=False)
    doors.speak()
    assert gate.count == before + 1


def test_closed_doors_lead_nowhere_and_open_again(doors: Exits) -> None:
    said: list[str] = []
    doors.open(lambda: said.append("first"), use_signals=False)
    doors.close()
    doors.speak()
    doors.open(lambda: said.append("second"), lambda: said.append("ready"), use_signals=False)
    doors._main_thread_ended()
    doors.speak()
    assert said == ["ready", "second"]


def test_without_another_thread_they_are_said_on_this_one(
    doors: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    said: list[threading.Thread] = []
    doors.open(lambda: said.append(threading.current_thread()), use_signals=False)
    doors.speak()
    assert said == [threading.current_thread()]


_IMPORTING = """
import atexit, sys, threading
sys.path.insert(0, {folder!r})
from llm_observe.agent.exits import exits
from llm_observe.tracing.export import late

def under_way():
    return getattr(sys.modules["slow"].__spec__, "_initializing", False)

atexit.register(lambda: print("under way:", under_way()))  # registered first, so it runs last
exits.open(lambda: print("said:", under_way(), flush=True), use_signals=False)
threading.Thread(target=late.load, args=("slow",), daemon=True).start()
while "slow" not in sys.modules:
    pass
"""


def test_the_interpreter_does_not_end_in_the_middle_of_an_import_of_ours(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nfor _ in range(50): time.sleep(0.01)\n")
    script = _IMPORTING.format(folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "said: True\nunder way: False\n",
        "",
    )
