"""OpenTelemetry's own Python client over HTTP against our server."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from opentelemetry._opamp.agent import OpAMPAgent
from opentelemetry._opamp.callbacks import OpAMPCallbacks
from opentelemetry._opamp.client import OpAMPClient
from opentelemetry._opamp.proto import anyvalue_pb2 as their_values
from opentelemetry._opamp.proto import opamp_pb2 as their_messages

from llm_observe.opamp._pb import anyvalue_pb2, opamp_pb2
from llm_observe.opamp.events import AgentConnected, AgentDisconnected, StatusReported
from llm_observe.opamp.io.asgi import AgentLink
from llm_observe.opamp.values import AgentCapabilities, ConfigFile, ConfigState, ConfigStatus
from tests.opamp.io.peers import DEADLINE_S, Recorder, make_server
from tests.opamp.io.serving import serving

pytestmark = pytest.mark.interop

CONFIG = {"elastic": ConfigFile(json.dumps({"sampling_rate": 0.5}).encode(), "application/json")}
HASH = bytes(range(32))


class Callbacks(OpAMPCallbacks):
    """What its documentation shows: take the config, answer with the status."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.offered = threading.Event()

    def on_message(self, agent: Any, client: Any, message: Any) -> None:
        remote = message.remote_config
        if remote is None:
            return
        self.received += client.decode_remote_config(remote)
        client.update_effective_config({"elastic": {"sampling_rate": 0.5}}, "application/json")
        status = client.update_remote_config_status(
            remote.config_hash, their_messages.RemoteConfigStatuses_APPLIED
        )
        if status is not None:
            agent.send(client.build_remote_config_status_response_message(status))
        self.offered.set()


@pytest.mark.opamp("H-15", "Q-07")
def test_it_is_listed_offered_a_config_and_acknowledges_it() -> None:
    recorder, callbacks = Recorder(), Callbacks()

    async def offer(agent: AgentLink, event: Any) -> None:
        if isinstance(event, StatusReported):
            await agent.offer_config(CONFIG, HASH)

    recorder.then = offer
    server = make_server(recorder)
    with serving(server) as address:
        client = OpAMPClient(
            endpoint=f"http://{address}/v1/opamp",
            timeout_millis=int(DEADLINE_S * 1000),
            agent_identifying_attributes={"service.name": "chat", "service.instance.id": "1"},
            agent_non_identifying_attributes={"os.type": "linux"},
        )
        agent = OpAMPAgent(interval=0.2, callbacks=callbacks, client=client)
        agent.start()
        try:
            assert callbacks.offered.wait(DEADLINE_S)
            recorder.wait_until(
                lambda: any(
                    e.state.config_status == ConfigStatus(HASH, ConfigState.APPLIED)
                    for e in recorder.of(StatusReported)
                ),
                "the acknowledgement",
            )
            (link,) = server.agents.values()
            settled(link)
        finally:
            agent.stop(DEADLINE_S)
        recorder.wait_until(lambda: recorder.of(AgentDisconnected), "goodbye")
    assert callbacks.received[0] == ("elastic", {"sampling_rate": 0.5})
    assert len(recorder.of(AgentConnected)) == 1


def settled(link: AgentLink) -> None:
    """What it told of itself is what is known of it, and it polls on."""
    number, deadline = link.state.sequence_num, time.monotonic() + DEADLINE_S
    while link.state.sequence_num <= number + 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (link.transport, link.connected) == ("http", True)
    assert link.state.description is not None
    assert link.state.description.identifying["service.name"] == "chat"
    assert link.state.description.non_identifying == {"os.type": "linux"}
    assert AgentCapabilities.ACCEPTS_REMOTE_CONFIG in link.state.capabilities


@pytest.mark.parametrize(
    ("theirs", "ours"), [(their_messages, opamp_pb2), (their_values, anyvalue_pb2)]
)
def test_every_field_that_it_knows_has_the_same_name_number_and_type_with_us(
    theirs: Any, ours: Any
) -> None:
    renamed = {"AgentConfigFile": "AgentConfigObject"}
    for name, message in theirs.DESCRIPTOR.message_types_by_name.items():
        mine = ours.DESCRIPTOR.message_types_by_name.get(renamed.get(name, name))
        if mine is None:  # OpenTelemetry's InstrumentationScope is not on OpAMP's wire
            assert name == "InstrumentationScope"
            continue
        for field in message.fields:
            same = mine.fields_by_number[field.number]
            assert (same.name, same.type) == (field.name, field.type)
