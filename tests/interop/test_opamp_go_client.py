"""opamp-go's client against our server: both transports, compressed and not, asserted from its output."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_observe.opamp.events import AgentConnected, AgentDisconnected, StatusReported
from llm_observe.opamp.io.asgi import AgentLink, OpAMPServer
from llm_observe.opamp.values import AgentCapabilities, ConfigFile, ConfigState
from tests.interop.backends import needs_peers
from tests.interop.opamp_go import DEADLINE_S, Program, go
from tests.opamp.io.peers import Recorder, make_server
from tests.opamp.io.serving import serving

pytestmark = [pytest.mark.interop, needs_peers]
UID = uuid.UUID("0197f9a0-0000-7000-8000-000000000001")
FILES = {"main": ConfigFile(b'{"ratio": 0.5}', "application/json")}
HASH = bytes(range(32))


class Stage:
    """Our server, and a way to give orders on its loop."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.recorder.then = self._note
        self.server: OpAMPServer = make_server(self.recorder, heartbeat_s=1)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _note(self, agent: AgentLink, event: Any) -> None:
        self._loop = asyncio.get_running_loop()

    @property
    def link(self) -> AgentLink:
        return self.server.agents[UID.bytes]

    def offer(self, config_hash: bytes = HASH) -> None:
        assert self._loop is not None
        offering = self.link.offer_config(FILES, config_hash)
        asyncio.run_coroutine_threadsafe(offering, self._loop).result(DEADLINE_S)

    def reported(self, fits: Callable[[Any], Any], what: str) -> None:
        self.recorder.wait_until(
            lambda: any(fits(event.state) for event in self.recorder.of(StatusReported)), what
        )


@contextmanager
def meeting(scheme: str, *arguments: str, **options: Any) -> Iterator[tuple[Stage, Program]]:
    stage = Stage()
    with serving(stage.server, **options) as address:
        url = f"{scheme}://{address}/v1/opamp"
        with go("client", "-url", url, "-uid", UID.hex, "-heartbeat", "300ms", *arguments) as agent:
            agent.event("connect")
            stage.recorder.wait_until(lambda: stage.recorder.of(StatusReported), "its first report")
            yield stage, agent


@pytest.mark.opamp("T-01", "H-15", "Q-06", "R-05")
@pytest.mark.parametrize("compression", [(), ("-gzip",)], ids=["plain", "gzip"])
@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_it_is_known_offered_a_config_and_its_answers_are_heard(
    scheme: str, compression: tuple[str, ...]
) -> None:
    with meeting(scheme, *compression) as (stage, agent):
        told = stage.link.state
        assert told.description is not None
        assert told.description.identifying["service.name"] == "go-agent"
        assert told.description.non_identifying == {"os.type": "linux"}
        assert AgentCapabilities.ACCEPTS_REMOTE_CONFIG in told.capabilities
        stage.offer()
        line = agent.hears("the offer", lambda line: "remote_config" in line)
        assert line["remote_config"] == {
            "hash": HASH.hex(),
            "files": {"main": {"body": '{"ratio": 0.5}', "type": "application/json"}},
        }
        agent.tell("config-status", hash=HASH.hex(), state="failed", error="no such key")
        stage.reported(
            lambda state: (
                state.config_status.state is ConfigState.FAILED
                and state.config_status.error == "no such key"
            ),
            "its refusal",
        )
        agent.tell("config-status", hash=HASH.hex(), state="applied")
        agent.tell("effective", text='{"ratio": 0.5}')
        agent.tell("health", healthy=False, error="too warm")
        stage.reported(lambda state: state.config_status.state is ConfigState.APPLIED, "its yes")
        stage.reported(
            lambda state: (
                state.effective_config and state.effective_config[""].body == b'{"ratio": 0.5}'
            ),
            "its effective config",
        )
        stage.reported(
            lambda state: state.health and state.health.last_error == "too warm", "its health"
        )
        offers = [line for line in agent.heard if "remote_config" in line]
        assert len(offers) <= 2  # offered until its hash was told, never afterwards
        agent.tell("stop")
        agent.event("stopped")
        if scheme == "ws":
            stage.recorder.wait_until(lambda: stage.recorder.of(AgentDisconnected), "its goodbye")
            (gone,) = stage.recorder.of(AgentDisconnected)
            assert gone.reason == "the agent disconnected"
        assert len(stage.recorder.of(AgentConnected)) == 1
        assert not [line for line in agent.heard if line["event"] in {"error", "connect-failed"}]


@pytest.mark.parametrize("scheme", ["wss", "https"])
def test_it_comes_over_tls(scheme: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    options = {"ssl_certfile": str(tmp_path / "server.pem")}
    with meeting(scheme, "-ca", str(tmp_path / "ca.pem"), **options) as (stage, agent):
        stage.offer()
        agent.hears("the offer", lambda line: "remote_config" in line)


@pytest.mark.opamp("A-01", "A-02")
def test_it_is_refused_without_a_token_before_the_upgrade() -> None:
    stage = Stage()
    stage.recorder.refuse = 401
    with (
        serving(stage.server) as address,
        go("client", "-url", f"ws://{address}/v1/opamp", "-uid", UID.hex) as agent,
    ):
        assert agent.event("connect-failed")["error"] == "websocket: bad handshake"
    assert not stage.recorder.seen
