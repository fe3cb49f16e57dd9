"""A program that forgets to stop its client ends at once, and quietly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from llm_observe.opamp.events import StatusReported
from tests.opamp.io.peers import DEADLINE_S, Recorder, make_server
from tests.opamp.io.serving import free_port, serving

PROGRAM = """
import sys, threading
from llm_observe.opamp import AgentCapabilities, Health, OpAMPClient, events, new_uid

connected = threading.Event()


def on_event(event):
    if isinstance(event, events.Connected):
        connected.set()


client = OpAMPClient(sys.argv[1], new_uid(), AgentCapabilities.REPORTS_HEALTH, on_event)
client.report(health=Health())
client.start()
if sys.argv[2] == "wait":
    connected.wait()
    sys.stdin.readline()
print("done")
"""


def run(url: str, how: str, heard: Callable[[], None] = lambda: None) -> tuple[int, str, str]:
    """Exit status and words of the program, which may end once it was heard."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, url, how]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as program:
        try:
            heard()
            said, complained = program.communicate("\n", timeout=DEADLINE_S)
        finally:
            program.kill()
    return program.returncode, said, complained


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_with_a_line_that_stands(scheme: str) -> None:
    recorder = Recorder()

    def heard() -> None:
        recorder.wait_until(lambda: recorder.of(StatusReported), "its report")

    with serving(make_server(recorder)) as address:
        assert run(f"{scheme}://{address}", "wait", heard) == (0, "done\n", "")


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_without_a_server(scheme: str) -> None:
    assert run(f"{scheme}://127.0.0.1:{free_port()}", "go on") == (0, "done\n", "")
