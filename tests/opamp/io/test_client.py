"""The client that moves: by its program's word, and by a server's offer. Real sockets throughout."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_observe.opamp import candidate
from llm_observe.opamp.candidate import Record, Rules
from llm_observe.opamp.connections import (
    ConnectionOffer,
    ConnectionSettings,
    ProxySettings,
    TLSSettings,
)
from llm_observe.opamp.events import (
    AgentDisconnected,
    Connected,
    ConnectionSettingsOffered,
    StatusReported,
)
from llm_observe.opamp.io.asgi import AgentLink, OpAMPServer
from llm_observe.opamp.io.client import OpAMPClient
from llm_observe.opamp.io.endpoint import Endpoint, combined
from llm_observe.opamp.io.store import FileStore, MemoryStore, OfferStore
from llm_observe.opamp.values import AgentCapabilities, ConfigState, ConnectionStatus, Health
from llm_observe.uids import new_uid
from tests.link import AGENT, DESCRIPTION
from tests.opamp.io.agents import until
from tests.opamp.io.http_peer import Answer, http_peer, reply
from tests.opamp.io.peers import Recorder, make_server
from tests.opamp.io.serving import free_port, serving

CAPABILITIES = (
    AGENT
    | AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS
    | AgentCapabilities.REPORTS_CONNECTION_SETTINGS_STATUS
    | AgentCapabilities.REPORTS_OWN_METRICS
)
METRICS = ConnectionSettings("http://127.0.0.1:4318/v1/metrics")


class Place:
    """A server, what it saw, and where it is."""

    def __init__(self, recorder: Recorder, server: OpAMPServer, address: str) -> None:
        self.recorder, self.server, self.address = recorder, server, address

    def link(self, client: OpAMPClient) -> AgentLink | None:
        return self.server.agents.get(client.instance_uid)

    def status(self, client: OpAMPClient) -> ConnectionStatus | None:
        link = self.link(client)
        return link.state.connection_status if link else None

    def statuses(self) -> list[ConnectionStatus]:
        reports = self.recorder.of(StatusReported)
        return [e.state.connection_status for e in reports if "connection_status" in e.changed]

    def offer(self, offer: ConnectionOffer) -> None:
        """Made as soon as an agent has reported."""

        async def then(agent: AgentLink, event: Any) -> None:
            if isinstance(event, StatusReported):
                await agent.offer_connections(offer)

        self.recorder.then = then


@contextmanager
def place() -> Iterator[Place]:
    recorder = Recorder()
    server = make_server(recorder)
    with serving(server) as address:
        yield Place(recorder, server, address)


@contextmanager
def agent(
    url: str, store: OfferStore | None = None, **options: Any
) -> Iterator[tuple[OpAMPClient, Recorder]]:
    seen = Recorder()
    client = OpAMPClient(
        url,
        new_uid(),
        CAPABILITIES,
        lambda event: seen.take(b"", event),
        store=MemoryStore() if store is None else store,
        **options,
    )
    client.report(description=DESCRIPTION, health=Health(status="well"))
    with client:
        yield client, seen


def offer_of(url: str, settings_hash: bytes = b"c1", **parts: Any) -> ConnectionOffer:
    opamp = ConnectionSettings(url, {"X-Token": "new"}, heartbeat_s=30)
    return ConnectionOffer(settings_hash, opamp=opamp, **parts)


# ------------------------------------------------------------------------ by the program's word


@pytest.mark.opamp("T-02", "C-11")
@pytest.mark.parametrize(("first", "second"), [("ws", "http"), ("http", "ws"), ("ws", "ws")])
def test_it_goes_over_to_another_server_and_tells_it_everything(first: str, second: str) -> None:
    with (
        place() as one,
        place() as two,
        agent(f"{first}://{one.address}", headers={"X-Token": "old"}) as (client, _),
    ):
        until(lambda: one.link(client), "the first server's view")
        client.reconnect(f"{second}://{two.address}", headers={"X-Token": "new"})
        until(lambda: two.link(client), "the second server's view")
        link = two.link(client)
        assert link is not None
        assert link.state.description == DESCRIPTION
        assert link.state.health == Health(status="well")
        assert two.recorder.headers[0]["x-token"] == "new"
        assert one.recorder.of(AgentDisconnected) == [AgentDisconnected("the agent disconnected")]
        assert client.url == f"{second}://{two.address}"
        client.report(health=Health(status="here"))
        until(lambda: link.state.health == Health(status="here"), "a report on the new line")


def test_a_new_token_is_used_on_a_new_line_to_the_same_server() -> None:
    with place() as one, agent(f"ws://{one.address}") as (client, _):
        until(lambda: one.link(client), "the server's view")
        client.reconnect(headers={"X-Token": "new"})
        until(lambda: len(one.recorder.headers) == 2, "the second line")
        assert one.recorder.headers[1]["x-token"] == "new"
        until(lambda: one.link(client).connected, "the agent on it")  # type: ignore[union-attr]  # it was there
        assert len(one.server.agents) == 1


def test_it_may_move_while_there_is_no_server() -> None:
    with place() as one, agent(f"ws://127.0.0.1:{free_port()}") as (client, _):
        until(lambda: client.state.attempts, "a vain attempt")
        client.reconnect(f"http://{one.address}")
        until(lambda: one.link(client), "the server's view")


def test_a_wrong_address_changes_nothing() -> None:
    with place() as one, agent(f"ws://{one.address}") as (client, seen):
        seen.wait_until(lambda: seen.of(Connected), "a line")
        with pytest.raises(ValueError, match="ws, wss, http or https"):
            client.reconnect("ftp://elsewhere")
        assert client.url == f"ws://{one.address}"


# ------------------------------------------------------------------------- by a server's offer


@pytest.mark.opamp("K-05", "K-06", "K-09", "K-20", "S-12")
@pytest.mark.parametrize(("first", "second"), [("ws", "ws"), ("ws", "http"), ("http", "ws")])
def test_an_offered_connection_that_works_is_used_and_applied_is_said_there(
    first: str, second: str, tmp_path: Path
) -> None:
    store = FileStore(tmp_path / "connection")
    with place() as one, place() as two:
        one.offer(offer_of(f"{second}://{two.address}"))
        with agent(f"{first}://{one.address}", store) as (client, _):
            applied = ConnectionStatus(b"c1", ConfigState.APPLIED)
            until(lambda: two.status(client) == applied, "the new server's view")
            assert one.statuses()[-1] == ConnectionStatus(b"c1", ConfigState.APPLYING)
            until(lambda: one.recorder.of(AgentDisconnected), "goodbye at the old one")
            assert two.recorder.headers[0]["x-token"] == "new"
            link = two.link(client)
            assert link is not None
            assert link.state.health == Health(status="well")
        assert (tmp_path / "connection").stat().st_mode & 0o777 == 0o600
        with agent(f"{first}://{one.address}", store) as (again, _):  # a restart
            until(lambda: two.status(again) == applied, "it began where it was")
            assert one.link(again) is None


@pytest.mark.opamp("K-08", "K-10")
def test_an_offered_connection_that_refuses_us_is_given_up_and_failed_is_said_at_the_old_one() -> (
    None
):
    with place() as one, place() as two:
        two.recorder.refuse = 401
        one.offer(offer_of(f"ws://{two.address}"))
        with agent(f"ws://{one.address}") as (client, seen):
            until(lambda: len(seen.of(Connected)) == 2, "back at the old one")
            failed = ConnectionStatus(
                b"c1", ConfigState.FAILED, "opamp: the server wants a valid token (401)"
            )
            until(lambda: one.status(client) == failed, "the old server's view")
            assert client.url == f"ws://{one.address}"
        assert [s.state for s in one.statuses() if s.hash] == [
            ConfigState.APPLYING,
            ConfigState.FAILED,
        ]


@pytest.mark.opamp("K-07")
def test_an_offered_connection_that_says_nothing_is_given_up_in_time() -> None:
    with place() as one, http_peer(lambda _: Answer(503)) as (_, address):
        one.offer(offer_of(f"http://{address}"))
        with agent(f"ws://{one.address}", verify_s=0.3) as (client, _):
            failed = ConnectionStatus(b"c1", ConfigState.FAILED, "opamp: no answer in time")
            until(lambda: one.status(client) == failed, "the old server's view")


@pytest.mark.opamp("K-04")
def test_a_candidate_found_after_a_crash_is_tried_again() -> None:
    with place() as one, place() as two:
        settings = ConnectionSettings(f"ws://{two.address}", {"X-Token": "new"})
        applying = ConnectionStatus(b"c1", ConfigState.APPLYING)
        crashed = Record(candidate=settings, status=applying)
        store = MemoryStore(candidate.to_bytes(crashed))
        with agent(f"ws://{one.address}", store) as (client, _):
            applied = ConnectionStatus(b"c1", ConfigState.APPLIED)
            until(lambda: two.status(client) == applied, "the new server's view")
        assert store.data is not None
        assert candidate.from_bytes(store.data).active == settings


def test_a_candidate_that_is_being_tried_when_the_program_stops_is_tried_by_the_next() -> None:
    store, busy = MemoryStore(), Answer(503, {"Retry-After": "1000"})
    with place() as one, http_peer(lambda _: busy) as (peer, address):
        one.offer(offer_of(f"http://{address}"))
        with agent(f"ws://{one.address}", store, verify_s=1000.0):
            until(lambda: peer.requests, "a try")
    assert store.data is not None
    assert candidate.from_bytes(store.data).candidate is not None


def test_what_may_not_be_taken_is_refused_without_leaving_the_line() -> None:
    with place() as one:
        opamp = ConnectionSettings("wss://b", tls=TLSSettings(insecure_skip_verify=True))
        one.offer(ConnectionOffer(b"c1", opamp=opamp))
        with agent(f"ws://{one.address}") as (client, seen):
            until(lambda: (one.status(client) or ConnectionStatus()).hash == b"c1", "the verdict")
            status = one.status(client)
            assert status is not None
            assert status.state is ConfigState.FAILED
            assert "verification is not allowed" in status.error
            assert len(seen.of(Connected)) == 1


def test_tls_settings_that_cannot_be_had_are_refused_without_leaving_the_line() -> None:
    with place() as one:
        opamp = ConnectionSettings("wss://b", tls=TLSSettings("no pem"))
        one.offer(ConnectionOffer(b"c1", opamp=opamp))
        with agent(f"ws://{one.address}") as (client, seen):
            until(lambda: (one.status(client) or ConnectionStatus()).hash == b"c1", "the verdict")
            status = one.status(client)
            assert status is not None
            assert (status.state, "no PEM" in status.error) == (ConfigState.FAILED, True)
            assert len(seen.of(Connected)) == 1


@pytest.mark.opamp("K-04")
def test_a_candidate_that_cannot_be_stored_is_refused() -> None:
    class Full(MemoryStore):
        def save(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    with place() as one, place() as two:
        one.offer(offer_of(f"ws://{two.address}"))
        with agent(f"ws://{one.address}", Full()) as (client, _):
            failed = ConnectionStatus(b"c1", ConfigState.FAILED, "opamp: it cannot be stored")
            until(lambda: one.status(client) == failed, "the verdict")
            assert two.recorder.headers == []


def test_without_a_store_no_connection_is_offered() -> None:
    with place() as one:
        client = OpAMPClient(f"ws://{one.address}", new_uid(), CAPABILITIES, print)
        assert (
            AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS not in client.protocol.capabilities
        )


@pytest.mark.opamp("O-06")
def test_the_rest_of_an_offer_is_the_agents_and_the_status_waits_for_it() -> None:
    with place() as one, place() as two:
        one.offer(offer_of(f"ws://{two.address}", own_metrics=METRICS))
        with agent(f"ws://{one.address}") as (client, seen):
            seen.wait_until(lambda: seen.of(ConnectionSettingsOffered), "the rest")
            (event,) = seen.of(ConnectionSettingsOffered)
            assert (event.offer.opamp, event.offer.own_metrics) == (None, METRICS)
            applying = ConnectionStatus(b"c1", ConfigState.APPLYING)
            until(lambda: two.status(client) == applying, "it is not said to be done")
            client.settle(b"c1", {"own_metrics": "no such host"})
            failed = ConnectionStatus(b"c1", ConfigState.FAILED, "own_metrics: no such host")
            until(lambda: two.status(client) == failed, "the verdict")


@pytest.mark.opamp("K-08", "S-03")
def test_an_offered_authority_is_trusted_on_the_new_line() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    tls = TLSSettings(authority.cert_pem.bytes().decode())
    with place() as one, http_peer(reply, context) as (peer, address):
        opamp = ConnectionSettings(f"https://{address}", tls=tls)
        one.offer(ConnectionOffer(b"c1", opamp=opamp))
        with agent(f"ws://{one.address}"):
            until(
                lambda: any(
                    r.message.connection_settings_status.status == 1 for r in peer.requests
                ),
                "applied, said there",
            )


@pytest.mark.opamp("S-09", "S-10")
def test_an_offered_proxy_is_used_with_its_headers() -> None:
    with place() as one, http_peer(reply) as (peer, address):
        proxy = ProxySettings(address, {"X-Proxy": "p"})
        opamp = ConnectionSettings("http://server.invalid/v1/opamp", {}, proxy=proxy)
        one.offer(ConnectionOffer(b"c1", opamp=opamp))
        with agent(f"ws://{one.address}"):
            until(lambda: peer.requests, "a request through the proxy")
        assert peer.requests[0].headers["Host"] == "server.invalid"
        assert peer.requests[0].headers["X-Proxy"] == "p"


def test_headers_of_the_program_do_not_follow_an_offer_elsewhere() -> None:
    base = Endpoint("wss://a/v1/opamp", {"Authorization": "secret"})
    assert combined(base, ConnectionSettings("wss://b/v1/opamp")).headers == {}
    assert combined(base, ConnectionSettings("wss://a/other")).headers == base.headers
    assert combined(base, None) is base


def test_an_unreadable_record_is_said_and_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    with place() as one, agent(f"ws://{one.address}", MemoryStore(b"garbage")) as (client, _):
        until(lambda: one.link(client), "the server's view")
    assert "record of connections cannot be read" in caplog.text


def test_rules_are_strict_unless_the_program_says_so() -> None:
    assert Rules() == Rules(insecure=False, plaintext=False)
