from __future__ import annotations

import pytest

from llm_observe.errors import LocalProtocolError
from llm_observe.opamp.events import (
    AgentConnected,
    AgentDisconnected,
    ConfigOffered,
    Malformed,
    ServerErrorReceived,
    StatusReported,
)
from llm_observe.opamp.io.memory import MemoryPair
from llm_observe.opamp.values import ConfigFile, ErrorKind, Health
from tests.link import DESCRIPTION, make_client, make_server


def pair() -> MemoryPair:
    joined = MemoryPair(make_client(), make_server())
    joined.client.report(description=DESCRIPTION)
    joined.connect()
    return joined


@pytest.mark.parametrize("framed", [True, False])
def test_what_one_side_says_the_other_sees(framed: bool) -> None:
    joined = MemoryPair(make_client(framed=framed), make_server())
    joined.client.report(description=DESCRIPTION)
    joined.connect()
    _, seen = joined.exchange(0.0)
    assert [type(event) for event in seen] == [AgentConnected, StatusReported]
    assert joined.server.state.description == DESCRIPTION
    joined.server.offer_config({"a": ConfigFile(b"{}")}, b"one")
    seen_by_client, _ = joined.exchange(0.0)
    assert ConfigOffered({"a": ConfigFile(b"{}")}, b"one") in seen_by_client


def test_a_cut_line_takes_what_is_on_it() -> None:
    joined = pair()
    joined.exchange(0.0)
    joined.client.report(health=Health(status="new"))
    joined.speak(0.0)
    assert joined.disconnect() == (AgentDisconnected("the line was cut"),)
    assert not joined.to_server
    joined.connect()
    joined.exchange(0.0)
    assert joined.server.state.health == Health(status="new")


def test_what_the_server_cannot_read_is_a_bad_request() -> None:
    joined = pair()
    joined.exchange(0.0)
    joined.to_server.append(b"\x01")
    (event,), _ = joined.exchange(0.0)
    assert isinstance(event, ServerErrorReceived)
    assert event.kind is ErrorKind.BAD_REQUEST


def test_an_endless_conversation_is_stopped() -> None:
    joined = pair()
    joined.client.heartbeat_s = -1.0  # always due
    with pytest.raises(LocalProtocolError, match="come to rest"):
        joined.exchange(0.0)


def test_what_the_agent_cannot_read_is_an_event() -> None:
    joined = pair()
    joined.exchange(0.0)
    joined.to_agent.append(b"\x01")
    (event,), _ = joined.exchange(0.0)
    assert isinstance(event, Malformed)
