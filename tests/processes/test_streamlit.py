"""Streamlit runs the script again for every click, each time in a thread of its own."""

from __future__ import annotations

import signal

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.sync.client import connect

from tests.e2e.harness import eventually
from tests.opamp.io.serving import free_port
from tests.processes.test_servers import listens
from tests.processes.world import PROGRAMS, World


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.wide)]
)
def test_reruns_and_sessions_share_one_observation_and_end_without_loss(
    world: World, number: signal.Signals
) -> None:
    port = free_port()
    program = world.run(
        *("-m", "streamlit", "run", str(PROGRAMS / "page.py"), "--server.headless", "true"),
        *("--server.port", str(port), "--server.address", "127.0.0.1"),
        *("--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none"),
    )
    eventually(lambda: listens(port), "the page is served")
    for session in range(2):
        with connect(f"ws://127.0.0.1:{port}/_stcore/stream", subprotocols=None) as line:
            for rerun in range(2):
                message = BackMsg()
                message.rerun_script.query_string = ""
                line.send(message.SerializeToString())
                expected = 2 * session + rerun + 1
                eventually(lambda: world.asked.total() >= expected, "the page ran")  # noqa: B023  # called at once
    name = eventually(lambda: next(iter(world.fleet.present), ""), "it is one agent")
    digest = world.fleet.offer({"destinations": {"default": {"timeout_s": 9.0}}})
    eventually(lambda: world.fleet.acknowledged(digest) == {name}, "it acknowledges")
    program.signal(number)
    assert program.end() == 0
    spans = world.exact(4)
    assert {span.instance for span in spans} == {name}
    errors = "".join(program.errors)
    assert "already" not in errors
    assert "TracerProvider" not in errors
