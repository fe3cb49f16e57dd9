"""The whole way: worker processes, the real control plane, one version and its progress."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import ControlPlane, eventually
from tests.opamp.io.serving import free_port
from tests.processes.test_servers import WSGI, listens
from tests.processes.world import World


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    control = ControlPlane(tmp_path / "data").start()
    yield control
    control.stop()


def test_a_version_is_acknowledged_by_the_master_and_by_each_worker(
    world: World, plane: ControlPlane
) -> None:
    port = free_port()
    program = world.run(
        *("-m", "gunicorn", WSGI, "--preload", "-w", "2", "-b", f"127.0.0.1:{port}"),
        LLM_OBSERVE_SERVER=plane.url,
        LLM_OBSERVE_OPAMP_ENDPOINT="",
        OTEL_EXPORTER_OTLP_ENDPOINT="",
    )
    eventually(lambda: listens(port), "gunicorn listens")

    def connected() -> set[str]:
        items = plane.get("/agents", service="tested")["items"]
        return {item["uid"] for item in items if item["connected"]}

    eventually(lambda: len(connected()) == 3, "master and workers are connected")
    version = plane.set("tested", sampling__ratio=0.0)["version"]
    progress = plane.progress(version, "acknowledged")
    states = {agent["uid"]: agent["state"] for agent in progress["agents"]}
    assert states == dict.fromkeys(connected(), "acknowledged")
    for uid in states:
        agent = plane.get(f"/agents/{uid}")
        assert agent["effective"]["document"]["sampling"]["ratio"] == 0.0
        assert {"destination:control-plane", "instrumentors", "recording", "settings"} <= set(
            agent["health"]["components"]
        )
    program.signal(signal.SIGTERM)
    assert program.end() == 0
    eventually(lambda: not connected(), "all said goodbye")
