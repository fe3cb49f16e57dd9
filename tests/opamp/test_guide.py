"""The programs of docs/opamp.md run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from llm_observe.opamp import AgentCapabilities, OpAMPClient, new_uid
from llm_observe.opamp.events import Connected, StatusReported
from tests.opamp.io.peers import Recorder, make_server
from tests.opamp.io.serving import free_port, serving

CAPABILITIES = AgentCapabilities.REPORTS_HEALTH
PAGE = (Path(__file__).parents[2] / "docs" / "opamp.md").read_text()
SERVER, AGENT, PAIR = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_the_agent_and_the_server_of_the_guide_manage_each_other(scheme: str) -> None:
    port = str(free_port())
    server = SERVER.replace("4320", port)
    agent = AGENT.replace("4320", port).replace("ws://", f"{scheme}://")
    with running(server) as one, running(agent) as two:
        assert one.stdout is not None
        assert two.stdout is not None
        assert two.stdin is not None
        assert two.stdout.readline() == "level: debug\n"
        while "config_status" not in (line := one.stdout.readline()):
            assert line
        two.stdin.write("\n")
        two.stdin.flush()
        assert two.wait(30) == 0


def test_they_take_fifteen_lines() -> None:
    for program in (SERVER, AGENT):
        assert len([line for line in program.splitlines() if line.strip()]) <= 15


def test_the_pair_of_the_guide_agrees() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PAIR], capture_output=True, text=True, check=True
    )
    assert done.stdout == "well\n"


@pytest.mark.opamp("T-01")
@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_the_server_is_a_part_of_another_application(scheme: str) -> None:
    recorder = Recorder()
    server = make_server(recorder)
    app = Starlette(routes=[Route("/v1/opamp", server), WebSocketRoute("/v1/opamp", server)])
    with serving(app) as address:
        seen = Recorder()
        client = OpAMPClient(
            f"{scheme}://{address}", new_uid(), CAPABILITIES, lambda event: seen.take(b"", event)
        )
        with client:
            seen.wait_until(lambda: seen.of(Connected), "a line")
            recorder.wait_until(lambda: recorder.of(StatusReported), "a report")
