"""How far a control plane may move the line: what is announced, and what the limits let pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_observe.agent.lastgood import LastGood
from llm_observe.agent.link import Store, capabilities, dialling, rules
from llm_observe.agent.options import Options, read_options
from llm_observe.opamp import AgentCapabilities, OpAMPClient
from llm_observe.uids import new_uid

MOVES = AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS
ON = {"LLM_OBSERVE_OPAMP_CONNECTION_OFFERS": "on", "LLM_OBSERVE_SERVER": "https://own:4320"}


def options(**environ: str) -> Options:
    return read_options({**ON, **environ}, 0.0, token="t0ken")


def test_it_can_be_moved_only_where_its_environment_lets_it() -> None:
    assert MOVES in capabilities(options())
    off = options(LLM_OBSERVE_OPAMP_CONNECTION_OFFERS="")
    assert MOVES not in capabilities(off)
    assert not rules(off).allows("wss://own:4320/v1/opamp")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("wss://own:9/v1/opamp", True),
        ("wss://B.example.com/v1/opamp", True),
        ("proxy.example.com:3128", True),
        ("wss://evil/v1/opamp", False),
        ("wss://own.evil/v1/opamp", False),
        ("evil:3128", False),
        ("wss://[own/v1/opamp", False),
        ("", False),
    ],
)
def test_it_is_moved_within_the_limits_and_at_its_own_host(url: str, allowed: bool) -> None:
    limited = options(LLM_OBSERVE_LIMIT_DESTINATION_HOSTS="*.example.com")
    assert rules(limited).allows(url) is allowed


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_a_client_is_made_for_either_transport_and_its_record_is_kept(
    tmp_path: Path, scheme: str
) -> None:
    kept = LastGood.open(tmp_path, "s", "1")
    url = f"{scheme}://own:4320/v1/opamp"
    client = dialling(url, options(), kept)(new_uid(), print)
    assert isinstance(client, OpAMPClient)
    assert client.url == url
    assert MOVES in client.protocol.capabilities
    client.let_go()
    store = Store(kept)
    assert store.load() is None
    store.save(b"x")
    assert store.load() == b"x"
