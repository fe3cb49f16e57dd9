"""Connections, commands and custom messages between us and opamp-go, asserted from its output."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from llm_observe.opamp import OpAMPClient
from llm_observe.opamp.connections import ConnectionOffer, ConnectionSettings
from llm_observe.opamp.events import Connected, CustomMessageReceived, StatusReported
from llm_observe.opamp.io.asgi import AgentLink
from llm_observe.opamp.io.store import MemoryStore
from llm_observe.opamp.values import AgentCapabilities, AgentDescription, Health
from tests.interop.backends import needs_peers
from tests.interop.opamp_go import DEADLINE_S, Program, go
from tests.opamp.io.peers import Recorder, make_server
from tests.opamp.io.serving import free_port, serving

pytestmark = [pytest.mark.interop, needs_peers]
UID = uuid.UUID("0197f9a0-0000-7000-8000-000000000003")
CUSTOM = "com.example.echo"
CAPABILITIES = (
    AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS
    | AgentCapabilities.REPORTS_CONNECTION_SETTINGS_STATUS
    | AgentCapabilities.REPORTS_HEALTH
)


# --------------------------------------------------- our client is moved from one server to another


def ours(url: str, seen: Recorder) -> OpAMPClient:
    client = OpAMPClient(
        url,
        UID.bytes,
        CAPABILITIES,
        lambda event: seen.take(b"", event),
        store=MemoryStore(),
        heartbeat_s=0.2,
    )
    client.report(
        description=AgentDescription({"service.name": "chat"}), health=Health(status="well")
    )
    return client


def offer(url: str) -> dict[str, Any]:
    settings = {
        "destinationEndpoint": url,
        "headers": {"headers": [{"key": "Authorization", "value": "Bearer t0ken"}]},
        "heartbeatIntervalSeconds": "1",
    }
    return {"connectionSettings": {"hash": base64.b64encode(b"c1").decode(), "opamp": settings}}


def status(line: dict[str, Any]) -> str:
    told = line.get("message", {}).get("connectionSettingsStatus", {})
    hashed = base64.b64decode(told.get("lastConnectionSettingsHash", ""))
    return str(told.get("status", "")).rpartition("_")[2] if hashed == b"c1" else ""


def hears(server: Program, state: str) -> dict[str, Any]:
    message: dict[str, Any] = server.hears(state, lambda line: status(line) == state)["message"]
    return message


@pytest.mark.opamp("C-11", "K-05", "K-06", "K-09", "K-20")
@pytest.mark.parametrize(("first", "second"), [("ws", "ws"), ("ws", "http"), ("http", "ws")])
def test_our_client_goes_where_it_is_sent_and_says_applied_there(first: str, second: str) -> None:
    seen = Recorder()
    with go("server") as one, go("server", "-refuse", "401", "-token", "t0ken") as two:
        url = f"{first}://{one.event('listening')['address']}/v1/opamp"
        there = f"{second}://{two.event('listening')['address']}/v1/opamp"
        with ours(url, seen):
            one.hears(
                "our first report", lambda line: "agentDescription" in line.get("message", {})
            )
            seen.wait_until(lambda: seen.of(Connected), "a line")
            one.tell("answer" if first == "http" else "send", message=offer(there))
            hears(one, "APPLYING")
            one.hears("goodbye", lambda line: "agentDisconnect" in line.get("message", {}))
            applied = hears(two, "APPLIED")
            assert base64.b64decode(applied["instanceUid"]) == UID.bytes
            told = two.hears(
                "all of us", lambda line: "agentDescription" in line.get("message", {})
            )
            assert told["message"]["health"]["status"] == "well"


@pytest.mark.opamp("K-10")
def test_our_client_comes_back_where_it_cannot_stay_and_says_failed() -> None:
    seen = Recorder()
    with go("server") as one, ours(f"ws://{one.event('listening')['address']}/v1/opamp", seen):
        one.hears("us", lambda line: "agentDescription" in line.get("message", {}))
        one.tell("send", message=offer(f"ws://127.0.0.1:{free_port()}/v1/opamp"))
        hears(one, "APPLYING")
        failed = hears(one, "FAILED")["connectionSettingsStatus"]
        assert "cannot reach the server" in failed["errorMessage"]


# -------------------------------------------------------------- their client does what ours orders


class Stage:
    """Our server with opamp-go's client on it, and a way to give orders on its loop."""

    def __init__(self, stack: ExitStack, scheme: str) -> None:
        self.recorder = Recorder()
        self.recorder.then = self._note
        self._loop: asyncio.AbstractEventLoop | None = None
        self.server = make_server(
            self.recorder, custom_capabilities=frozenset({CUSTOM}), heartbeat_s=1
        )
        address = stack.enter_context(serving(self.server))
        given = ["-url", f"{scheme}://{address}/v1/opamp", "-uid", UID.hex]
        given += ["-heartbeat", "300ms", "-capability", CUSTOM]
        self.agent = stack.enter_context(go("client", *given))
        self.recorder.wait_until(lambda: self.recorder.of(StatusReported), "its first report")

    async def _note(self, agent: AgentLink, event: Any) -> None:
        self._loop = asyncio.get_running_loop()

    def order(self, give: Callable[[AgentLink], Coroutine[Any, Any, None]]) -> None:
        assert self._loop is not None
        given = asyncio.run_coroutine_threadsafe(give(self.server.agents[UID.bytes]), self._loop)
        given.result(DEADLINE_S)


@pytest.mark.opamp("J-06", "O-01", "V-01")
@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_their_client_hears_commands_connections_and_custom_messages(scheme: str) -> None:
    with ExitStack() as stack:
        stage = Stage(stack, scheme)
        traces = ConnectionSettings("https://traces.example/v1/traces")
        stage.order(lambda link: link.offer_connections(ConnectionOffer(b"c1", own_traces=traces)))
        line = stage.agent.hears("the offer", lambda line: "own_traces" in line)
        assert line["own_traces"] == "https://traces.example/v1/traces"
        for number in (b"0", b"1", b"2"):
            stage.order(
                partial(AgentLink.send_custom, capability=CUSTOM, type_="ping", data=number)
            )
        stage.agent.hears("the last one", lambda line: line.get("custom", {}).get("data") == "2")
        heard = [line["custom"] for line in stage.agent.heard if "custom" in line]
        assert heard == [{"capability": CUSTOM, "type": "ping", "data": n} for n in "012"]
        stage.agent.tell("custom", capability=CUSTOM, type="pong", text="back")
        stage.recorder.wait_until(lambda: stage.recorder.of(CustomMessageReceived), "its answer")
        assert stage.recorder.of(CustomMessageReceived)[0].data == b"back"
        stage.order(lambda link: link.restart())
        assert stage.agent.event("command")["type"] == "CommandType_Restart"
        assert not [line for line in stage.agent.heard if line["event"] == "error"]
