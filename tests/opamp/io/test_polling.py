"""The client over plain HTTP: against our server, and against servers that answer oddly."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from functools import partial
from typing import Any

import pytest
import trustme

from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.events import (
    ConfigOffered,
    Connected,
    Disconnected,
    HeartbeatChanged,
    IdentityAssigned,
    Malformed,
    ServerErrorReceived,
)
from llm_observe.opamp.io.polling import PollingClient
from llm_observe.opamp.io.posting import Poster
from llm_observe.opamp.values import (
    ConfigFile,
    ErrorKind,
    Health,
)
from llm_observe.uids import new_uid, uid_text
from tests.link import AGENT
from tests.opamp.io.agents import polling, said, until
from tests.opamp.io.http_peer import Answer, Request, http_peer, reply
from tests.opamp.io.peers import DEADLINE_S, Recorder, make_server
from tests.opamp.io.serving import free_port, serving


def first_fails(answer: Answer) -> Any:
    """A script: the first request is answered so, the others properly."""
    return lambda request: reply(request) if request.number else answer


# ------------------------------------------------------------------------- with our own server


@pytest.mark.opamp("U-09")
def test_two_agents_with_a_copied_uid_become_two() -> None:
    recorder = Recorder()
    server = make_server(recorder)
    with serving(server) as address, polling(address) as one:
        one.saw(Connected)
        copy = polling(address)
        copy.client.protocol.instance_uid = one.client.instance_uid
        with copy:
            copy.saw(Connected)
            for turn in range(4):
                for agent in (one, copy):
                    status = f"{turn} {id(agent)}"
                    agent.client.report(health=Health(status=status))
                    recorder.wait_until(partial(said, recorder, status), "its turn")
            until(lambda: one.of(IdentityAssigned) or copy.of(IdentityAssigned), "another uid")
            assert one.client.instance_uid != copy.client.instance_uid
            until(lambda: len(server.agents) == 2, "two agents")


def test_a_server_that_is_not_there_is_told_in_a_sentence_and_stopping_is_quick() -> None:
    with polling(f"127.0.0.1:{free_port()}") as agent:
        until(lambda: agent.client.state.attempts >= 2, "vain attempts")
        assert agent.client.state.last_error == "cannot reach the server"
        began = time.monotonic()
        agent.client.stop()
    assert time.monotonic() - began < DEADLINE_S / 3


# ---------------------------------------------------------------------------------- the requests


@pytest.mark.opamp("H-02", "H-12")
def test_a_request_is_what_the_specification_says() -> None:
    with http_peer(reply) as (peer, address), polling(address) as agent:
        agent.saw(Connected)
        headers = peer.requests[0].headers
        assert headers["Content-Type"] == "application/x-protobuf"
        assert headers["OpAMP-Instance-UID"] == uid_text(agent.client.instance_uid)
        assert headers["Accept-Encoding"] == "gzip"
        assert "Content-Encoding" not in headers
        assert peer.requests[0].message.sequence_num == 0


@pytest.mark.opamp("H-09")
def test_bodies_are_compressed_both_ways() -> None:
    def script(request: Request) -> Answer:
        answer = reply(request, remote_config=_big_offer())
        return Answer(
            headers={**answer.headers, "Content-Encoding": "gzip"},
            body=gzip.compress(answer.body),
        )

    with http_peer(script) as (peer, address):
        agent = polling(address)
        agent.client.report(health=Health(status="h" * 5000))
        with agent:
            agent.saw(ConfigOffered)
        first = peer.requests[0]
        assert first.headers["Content-Encoding"] == "gzip"
        assert len(first.body) < 1000
        assert first.message.health.status == "h" * 5000
        assert agent.of(ConfigOffered)[0].files["a"].body == b"x" * 50_000


def _big_offer() -> opamp_pb2.AgentRemoteConfig:
    files = {"a": opamp_pb2.AgentConfigObject(body=b"x" * 50_000)}
    return opamp_pb2.AgentRemoteConfig(
        config=opamp_pb2.AgentConfigMap(config_map=files), config_hash=b"h"
    )


def test_a_server_that_takes_no_gzip_gets_none() -> None:
    def script(request: Request) -> Answer:
        return Answer(415) if request.headers.get("Content-Encoding") else reply(request)

    with http_peer(script) as (peer, address):
        agent = polling(address)
        agent.client.report(health=Health(status="h" * 5000))
        with agent:
            agent.saw(Connected)
            agent.client.report(health=Health(status="i" * 5000))
            until(lambda: len(peer.requests) >= 3, "the next report")
        codings = [request.headers.get("Content-Encoding") for request in peer.requests[:3]]
        assert codings == ["gzip", None, None]


@pytest.mark.opamp("H-07")
def test_one_request_is_under_way_at_a_time() -> None:
    def script(request: Request) -> Answer:
        time.sleep(0.02)
        return reply(request)

    with http_peer(script) as (peer, address), polling(address) as agent:
        for number in range(20):
            agent.client.report(health=Health(status=str(number)))
            time.sleep(0.005)
        until(lambda: peer.requests[-1].message.health.status == "19", "the last report")
        assert peer.most_at_once == 1
        assert len(peer.requests) < 20


@pytest.mark.opamp("H-05", "H-06", "I-04")
def test_it_polls_at_the_interval_it_is_given_and_at_the_one_it_is_offered() -> None:
    opamp = opamp_pb2.OpAMPConnectionSettings(heartbeat_interval_seconds=7)
    offers = opamp_pb2.ConnectionSettingsOffers(opamp=opamp)

    def script(request: Request) -> Answer:
        if request.number == 3:
            return reply(request, connection_settings=offers)
        return reply(request)

    with http_peer(script) as (peer, address), polling(address, interval_s=0.05) as agent:
        agent.saw(HeartbeatChanged)
        assert isinstance(agent.client, PollingClient)
        assert agent.client.interval_s == 7.0
        polls = len(peer.requests)
        time.sleep(0.3)
        assert len(peer.requests) == polls
        assert [r.message.sequence_num for r in peer.requests] == list(range(polls))


def test_an_interval_is_longer_than_nothing() -> None:
    with pytest.raises(ValueError, match="longer than 0"):
        PollingClient("http://a", new_uid(), AGENT, print, interval_s=0.0)


@pytest.mark.opamp("C-06")
def test_goodbye_is_the_last_request_and_carries_what_was_not_said_yet() -> None:
    release = threading.Event()

    def script(request: Request) -> Answer:
        if request.number == 1:
            release.wait(DEADLINE_S)
        return reply(request)

    with http_peer(script) as (peer, address):
        with polling(address) as agent:
            agent.saw(Connected)
            agent.client.report(health=Health(status="under way"))
            until(lambda: len(peer.requests) == 2, "a request under way")
            agent.client.report(health=Health(status="last words"))
            threading.Timer(0.05, release.set).start()
        last = peer.requests[-1].message
        assert last.HasField("agent_disconnect")
        assert last.health.status == "last words"
        assert [r.message.HasField("agent_disconnect") for r in peer.requests] == [False] * 2 + [
            True
        ]


def test_stopping_does_not_wait_for_a_server_that_does_not_answer() -> None:
    release = threading.Event()

    def script(request: Request) -> Answer:
        release.wait(DEADLINE_S)
        return reply(request)

    with http_peer(script) as (peer, address):
        agent = polling(address)
        agent.client.start()
        until(lambda: peer.requests, "a request")
        began = time.monotonic()
        agent.client.stop(timeout_s=0.2)
        assert time.monotonic() - began < DEADLINE_S / 3
        release.set()


# ------------------------------------------------------------------------------ odd answers


@pytest.mark.opamp("H-16")
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer(302, {"Location": "http://127.0.0.1:1/steal"}), "redirects are not followed"),
        (Answer(403), "forbids this agent"),
        (Answer(404), "no OpAMP at this path"),
        (Answer(405), "no OpAMP over plain HTTP"),
        (Answer(500), "the server answered 500"),
        (Answer(200, {"Content-Type": "text/html"}, b"<html>"), "no OpAMP server"),
        (Answer(200, {"Content-Encoding": "br"}, b"x"), "no OpAMP server"),
        (Answer(body=b"\xff\xff\xff"), "not a protobuf message"),
        (Answer(raw=b""), "the connection broke"),
        (Answer(raw=b"220 mail ready\r\n"), "the connection broke"),
    ],
)
def test_an_odd_answer_is_told_in_a_sentence_and_tried_again(answer: Answer, sentence: str) -> None:
    with http_peer(first_fails(answer)) as (peer, address):
        agent = polling(address, headers={"Authorization": "Bearer hunter2"})
        with agent:
            agent.saw(Connected)
        assert sentence in agent.client.state.last_error
        assert "hunter2" not in agent.client.state.last_error
        first, again = peer.requests[:2]
        assert again.message == first.message  # same number: nothing was lost


@pytest.mark.opamp("L-11")
def test_an_answer_beyond_the_limit_is_not_processed() -> None:
    def script(request: Request) -> Answer:
        if request.number:
            return reply(request)
        bomb = gzip.compress(reply(request, remote_config=_big_offer()).body)
        return Answer(headers={"Content-Encoding": "gzip"}, body=bomb)

    with http_peer(script) as (_, address):
        agent = polling(address, max_message_bytes=20_000)
        with agent:
            agent.saw(Connected)
        assert "over the limit of 20000" in agent.client.state.last_error
        assert agent.of(ConfigOffered) == []


@pytest.mark.opamp("L-10")
@pytest.mark.parametrize("status", [400, 413])
def test_a_message_refused_for_good_is_not_sent_again(status: int) -> None:
    def script(request: Request) -> Answer:
        return Answer(status) if request.number == 1 else reply(request)

    with http_peer(script) as (peer, address), polling(address) as agent:
        agent.saw(Connected)
        agent.client.report(health=Health(status="too much"))
        agent.saw(ServerErrorReceived)
        assert agent.of(ServerErrorReceived)[0].kind is ErrorKind.BAD_REQUEST
        agent.client.report(effective_config={"a": ConfigFile(b"x")})
        until(lambda: len(peer.requests) == 3, "the next report")
        third = peer.requests[2].message
        assert (third.sequence_num, third.HasField("health")) == (2, False)
        assert third.HasField("effective_config")


@pytest.mark.opamp("C-03", "Y-04")
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("date", [False, True])
def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(status: int, date: bool) -> None:
    arrived: list[float] = []

    def script(request: Request) -> Answer:
        arrived.append(time.monotonic())
        if request.number:
            return reply(request)
        later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))
        return Answer(status, {"Retry-After": later if date else "1"})

    with http_peer(script) as (_, address):
        agent = polling(address)
        with agent:
            agent.saw(Connected)
    assert arrived[1] - arrived[0] >= 0.9


@pytest.mark.opamp("Y-05")
def test_without_a_hint_a_busy_server_is_left_alone_for_thirty_seconds() -> None:
    with http_peer(first_fails(Answer(503))) as (peer, address), polling(address) as agent:
        until(lambda: agent.client.state.attempts, "a refusal")
        time.sleep(1.0)
        assert len(peer.requests) == 1
    assert len(peer.requests) == 1


@pytest.mark.opamp("Y-07")
def test_a_server_that_says_unavailable_is_left_alone_too_and_told_again_later() -> None:
    def script(request: Request) -> Answer:
        if request.number != 1:
            return reply(request)
        error = opamp_pb2.ServerErrorResponse(type="ServerErrorResponseType_Unavailable")
        error.retry_info.retry_after_nanoseconds = 100_000_000
        return reply(request, error_response=error)

    with http_peer(script) as (peer, address), polling(address) as agent:
        agent.saw(Connected)
        agent.client.report(health=Health(status="new"))
        agent.saw(Disconnected)
        agent.saw(Connected, 2)
        assert peer.requests[2].message.health.status == "new"


def test_an_answer_to_somebody_else_acknowledges_nothing() -> None:
    def script(request: Request) -> Answer:
        if request.number:
            return reply(request)
        return Answer(body=opamp_pb2.ServerToAgent(instance_uid=b"o" * 16).SerializeToString())

    with http_peer(script) as (peer, address), polling(address) as agent:
        agent.saw(Connected)
        assert len(agent.of(Malformed)) == 1
        assert peer.requests[1].message.HasField("agent_description")


def test_tls_is_verified() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with http_peer(reply, context) as (peer, address):
        with polling(f"https://{address}") as stranger:
            until(lambda: stranger.client.state.attempts, "a refusal")
            assert "certificate is not trusted" in stranger.client.state.last_error
        assert peer.requests == []
        with polling(f"wss://{address}", ssl_context=trusting) as agent:
            agent.saw(Connected)


def test_a_proxy_of_the_environment_has_no_business_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:1")
    with http_peer(reply) as (_, address), polling(address) as agent:
        agent.saw(Connected)


def test_a_proxy_of_the_environment_carries_what_goes_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with http_peer(reply) as (peer, address):
        monkeypatch.setenv("http_proxy", f"http://user:secret@{address}")
        monkeypatch.delenv("no_proxy", raising=False)
        with polling("http://server.invalid:4320") as agent:
            agent.saw(Connected)
        assert peer.requests[0].headers["Host"] == "server.invalid:4320"
        assert peer.requests[0].headers["proxy-authorization"].startswith("Basic ")


def test_an_address_with_credentials_in_it_is_refused() -> None:
    with pytest.raises(ValueError, match="credentials"):
        Poster("http://user:secret@host", max_message_bytes=10)
