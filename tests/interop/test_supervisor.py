"""The OpAMP supervisor of the OpenTelemetry Collector against our server, and what it does then."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_observe.opamp.events import AgentDisconnected, StatusReported
from llm_observe.opamp.io.asgi import AgentLink
from llm_observe.opamp.values import ConfigFile, ConfigState
from tests.e2e.harness import DEADLINE_S, eventually
from tests.interop.backends import answers, needs_peers, peer, running
from tests.opamp.io.peers import Recorder, make_server
from tests.opamp.io.serving import free_port, serving

pytestmark = [pytest.mark.interop, needs_peers]


def _config(health_port: int, exporter: str = "nop") -> tuple[dict[str, ConfigFile], bytes]:
    document = {
        "extensions": {"health_check": {"endpoint": f"127.0.0.1:{health_port}"}},
        "receivers": {"nop": None},
        "exporters": {"nop": None},
        "service": {
            "extensions": ["health_check"],
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["nop"], "exporters": [exporter]}},
        },
    }
    body = json.dumps(document).encode()
    return {"": ConfigFile(body, "text/yaml")}, hashlib.sha256(body).digest()


def _supervisor(folder: Path, address: str) -> list[str]:
    config = {
        "server": {"endpoint": f"ws://{address}/v1/opamp"},
        "capabilities": {
            "accepts_remote_config": True,
            "reports_remote_config": True,
            "reports_effective_config": True,
            "reports_health": True,
            "reports_own_metrics": False,
        },
        "agent": {
            "executable": peer("collector", "otelcol", "collector.yaml"),
            "config_apply_timeout": "3s",
        },
        "storage": {"directory": str(folder / "state")},
    }
    path = folder / "supervisor.yaml"
    path.write_text(json.dumps(config))
    program = peer("supervisor", "opampsupervisor", "supervisor.mod")
    return [program, "--config", str(path)]


class Wish:
    """What the server offers to the one agent: at its reports, and at once when it changes."""

    def __init__(self) -> None:
        self._offer = _config(free_port())
        self._push: Callable[[], None] | None = None

    async def __call__(self, agent: AgentLink, event: Any) -> None:
        loop = asyncio.get_running_loop()
        self._push = lambda: asyncio.run_coroutine_threadsafe(
            agent.offer_config(*self._offer), loop
        ).result(DEADLINE_S)
        if isinstance(event, StatusReported):
            await agent.offer_config(*self._offer)

    def change(self, offer: tuple[dict[str, ConfigFile], bytes]) -> bytes:
        """Offer something else; its hash."""
        self._offer = offer
        if self._push is not None:
            self._push()
        return offer[1]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[Recorder, Wish]]:
    recorder, wish = Recorder(), Wish()
    recorder.then = wish
    with serving(make_server(recorder)) as address:
        command = _supervisor(tmp_path, address)
        with running(command, tmp_path / "supervisor.log", stop=signal.SIGINT):
            yield recorder, wish
        eventually(lambda: recorder.of(AgentDisconnected), "its goodbye")


def _said(recorder: Recorder, digest: bytes) -> ConfigState | None:
    reports = [event.state.config_status for event in recorder.of(StatusReported)]
    states = [status.state for status in reports if status and status.hash == digest]
    return states[-1] if states else None


def test_a_config_is_pushed_and_runs_and_a_broken_one_is_refused(
    stage: tuple[Recorder, Wish],
) -> None:
    recorder, wish = stage
    port = free_port()
    good = wish.change(_config(port))
    eventually(lambda: answers(f"http://127.0.0.1:{port}"), "the collector under the new config")
    eventually(lambda: _said(recorder, good) is ConfigState.APPLIED, "its word that it is applied")
    state = recorder.of(StatusReported)[-1].state
    assert state.description.identifying["service.name"] == "otelcol"
    assert str(port) in state.effective_config[""].body.decode()
    broken = wish.change(_config(port, exporter="nowhere"))
    eventually(lambda: _said(recorder, broken) is ConfigState.FAILED, "its refusal")
    assert recorder.of(StatusReported)[-1].state.config_status.error
