"""A program that forgets to stop its client ends at once, and quietly."""

from __future__ import annotations

import subprocess
import sys

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
print("done")
"""


def run(url: str, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, url, how]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_with_a_line_that_stands(scheme: str) -> None:
    recorder = Recorder()
    with serving(make_server(recorder)) as address:
        done = run(f"{scheme}://{address}", "wait")
        recorder.wait_until(lambda: recorder.of(StatusReported), "its report")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_without_a_server(scheme: str) -> None:
    done = run(f"{scheme}://127.0.0.1:{free_port()}", "go on")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
