"""A control plane that wants a program's own telemetry: real servers, a real sink, a real program."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_observe.opamp import (
    AgentCapabilities,
    ConfigState,
    ConnectionOffer,
    ConnectionSettings,
    ConnectionStatus,
    ProxySettings,
    TLSSettings,
)
from llm_observe.opamp.io.asgi import AgentLink
from llm_observe.testing import OTLPSink, serve_in_thread
from tests.e2e.harness import eventually
from tests.opamp.io.serving import free_port, serving
from tests.opamp.io.test_client import Place, place
from tests.processes.test_connection_offers import CANARY, started, told, without_a_trace
from tests.processes.world import World
from tests.tracing.export.proxying import proxying

TOKEN = {"X-Token": CANARY}


class Wanting:
    """An OpAMP server that can offer at any time."""

    def __init__(self, at: Place) -> None:
        self.at = at
        self._links: list[AgentLink] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        at.recorder.then = self._then

    async def _then(self, agent: AgentLink, event: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._links = [link for link in self.at.server.agents.values() if link.connected]

    def wants(self, offer: ConnectionOffer) -> ConnectionStatus:
        """Offer it to the one agent there is; what became of it."""
        eventually(lambda: self._links, "an agent is there")
        (link,) = self._links
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(link.offer_connections(offer), self._loop).result(30)

        def decided() -> ConnectionStatus | None:
            status = link.state.connection_status
            known = status is not None and status.hash == offer.hash
            return status if known and status and status.state != ConfigState.APPLYING else None

        status = eventually(decided, "the verdict")
        assert status is not None
        return status

    @property
    def capabilities(self) -> AgentCapabilities:
        (link,) = self._links
        return link.state.capabilities


@pytest.fixture
def server() -> Iterator[Wanting]:
    with place() as made:
        yield Wanting(made)


@pytest.fixture
def own() -> Iterator[tuple[OTLPSink, str]]:
    sink = OTLPSink()
    with serve_in_thread(sink) as served:
        yield sink, served.url


def receiver(url: str, signal: str) -> ConnectionSettings:
    return ConnectionSettings(f"{url}/v1/{signal}", TOKEN)


@pytest.mark.opamp("O-09")
def test_spans_go_there_with_its_headers_across_a_restart_until_it_is_withdrawn(
    world: World, server: Wanting, own: tuple[OTLPSink, str]
) -> None:
    sink, url = own
    program = started(world, server.at)
    offer = ConnectionOffer(b"1", own_traces=receiver(url, "traces"))
    assert server.wants(offer).state is ConfigState.APPLIED
    assert AgentCapabilities.REPORTS_OWN_TRACES in server.capabilities
    assert AgentCapabilities.REPORTS_OWN_LOGS not in server.capabilities
    program.ask("ask")
    without_a_trace(program, server.at)  # its end flushes
    assert len(sink.spans()) == 1
    assert {request.headers["x-token"] for request in sink.requests()} == {CANARY}
    again = started(world, server.at)
    again.ask("ask")
    withdrawn = ConnectionOffer(b"2", own_traces=ConnectionSettings(""))
    assert server.wants(withdrawn).state is ConfigState.APPLIED
    again.ask("ask")
    without_a_trace(again, server.at)
    assert len(sink.spans()) <= 2  # what waited when it was withdrawn may have been dropped
    assert len(world.spans()) == 3
    assert "offer:" not in "".join(file for file in effective(server.at))


def effective(at: Place) -> list[str]:
    newest = list(at.server.agents.values())[-1].state.effective_config or {}
    return [file.body.decode() for file in newest.values()]


def test_a_receiver_that_does_not_answer_and_one_beyond_the_limits_replace_nothing(
    world: World, server: Wanting, own: tuple[OTLPSink, str]
) -> None:
    sink, url = own
    limits = {"LLM_OBSERVE_LIMIT_DESTINATION_HOSTS": "127.0.0.1"}
    program = started(world, server.at, **limits)
    assert (
        server.wants(ConnectionOffer(b"1", own_traces=receiver(url, "traces"))).state
        is ConfigState.APPLIED
    )
    dead = receiver(f"http://127.0.0.1:{free_port()}", "traces")
    failed = server.wants(ConnectionOffer(b"2", own_traces=dead))
    assert failed.state is ConfigState.FAILED
    beyond = receiver(url.replace("127.0.0.1", "localhost"), "traces")
    refused = server.wants(ConnectionOffer(b"3", own_traces=beyond))
    assert (refused.state, "local limit" in refused.error) == (ConfigState.FAILED, True)
    assert CANARY not in told(server.at)
    program.ask("ask")
    without_a_trace(program, server.at)
    assert len(sink.spans()) == 1


def test_the_process_itself_is_measured_where_its_own_metrics_are_wanted_and_nowhere_else(
    world: World, server: Wanting, own: tuple[OTLPSink, str]
) -> None:
    sink, url = own
    program = started(world, server.at)
    offer = ConnectionOffer(b"1", own_metrics=receiver(url, "metrics"))
    assert server.wants(offer).state is ConfigState.APPLIED
    found = eventually(lambda: {m.name: m for m in sink.metrics()}, "the first look")
    assert {"process.cpu.time", "process.memory.usage", "process.thread.count"} <= set(found)
    seconds = [point.as_double for point in found["process.cpu.time"].sum.data_points]
    assert 0 < sum(seconds) < 600
    assert {request.headers["x-token"] for request in sink.requests()} == {CANARY}
    program.ask("ask")
    without_a_trace(program, server.at)
    assert not [m.name for m in world.sink.metrics() if m.name.startswith("process.")]
    assert sink.spans() == []


@pytest.mark.opamp("O-11")
def test_it_is_reached_by_the_authorities_and_the_proxy_that_came_with_it(
    world: World, server: Wanting, tmp_path: Path
) -> None:
    authority, sink = trustme.CA(), OTLPSink()
    pem = authority.cert_pem.bytes().decode()
    files = [tmp_path / name for name in ("sink.pem", "sink.key")]
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(files[0]))
    certificate.private_key_pem.write_to_path(str(files[1]))
    program = started(world, server.at)
    with (
        serving(sink, ssl_certfile=str(files[0]), ssl_keyfile=str(files[1])) as address,
        proxying(CANARY) as between,
    ):
        there = receiver(f"https://{address}", "traces")
        through = ProxySettings(between.url, {"Proxy-Authorization": f"Basic {CANARY}"})
        untrusted = server.wants(ConnectionOffer(b"1", own_traces=replace(there, proxy=through)))
        assert untrusted.state is ConfigState.FAILED
        trusted = replace(there, proxy=through, tls=TLSSettings(pem))
        known = server.wants(ConnectionOffer(b"2", own_traces=trusted))
        assert (known.state, known.error) == (ConfigState.APPLIED, "")
        program.ask("ask")
        without_a_trace(program, server.at)
        assert len(sink.spans()) == 1
        assert {line.rpartition(" ")[0] for line in between.lines} == {f"CONNECT {address}"}
