from __future__ import annotations

import gzip
import uuid
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.events import AgentConnected, AgentDisconnected, SequenceBroken
from llm_observe.opamp.io import serve_http
from llm_observe.opamp.io.asgi import OpAMPServer
from llm_observe.opamp.values import ConfigFile
from tests.opamp.io.peers import Hand, Recorder, Socket, make_server

pytestmark = pytest.mark.anyio

UID = b"a" * 16
PROTOBUF = {"content-type": "application/x-protobuf"}
LIMIT = 20_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def server(recorder: Recorder) -> AsyncIterator[OpAMPServer]:
    server = make_server(recorder, max_message_bytes=LIMIT)
    yield server
    await server.close()


@pytest.fixture
async def http(server: OpAMPServer) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=server)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def post(
    http: httpx.AsyncClient, body: bytes | opamp_pb2.AgentToServer, **headers: str
) -> httpx.Response:
    data = body if isinstance(body, bytes) else body.SerializeToString()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.post("/v1/opamp", content=data, headers={**PROTOBUF, **named})


async def answer(
    http: httpx.AsyncClient, body: bytes | opamp_pb2.AgentToServer, **headers: str
) -> opamp_pb2.ServerToAgent:
    response = await post(http, body, **headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-protobuf"
    return opamp_pb2.ServerToAgent.FromString(response.content)


@pytest.mark.opamp("H-13")
async def test_a_bare_protobuf_body_is_answered_by_another(
    http: httpx.AsyncClient, server: OpAMPServer, recorder: Recorder
) -> None:
    reply = await answer(http, Hand(UID).hello())
    assert (reply.instance_uid, reply.capabilities & 1) == (UID, 1)
    assert (server.agents[UID].transport, server.agents[UID].connected) == ("http", True)
    assert len(recorder.of(AgentConnected)) == 1


@pytest.mark.opamp("H-15")
async def test_an_offer_waits_for_the_next_request(
    http: httpx.AsyncClient, server: OpAMPServer
) -> None:
    agent = Hand(UID)
    await answer(http, agent.hello())
    await server.agents[UID].offer_config({"a": ConfigFile(b"{}")}, b"one")
    assert (await answer(http, agent.says())).remote_config.config_hash == b"one"
    status = opamp_pb2.RemoteConfigStatus(last_remote_config_hash=b"one")
    assert not (await answer(http, agent.says(remote_config_status=status))).HasField(
        "remote_config"
    )


async def test_a_retry_of_the_same_message_is_answered_and_is_no_gap(
    http: httpx.AsyncClient, recorder: Recorder
) -> None:
    agent = Hand(UID)
    await answer(http, agent.hello())
    message = agent.says()
    assert [(await answer(http, message)).flags for _ in range(2)] == [0, 0]
    agent.says()  # lost on the way
    assert (await answer(http, agent.says())).flags == 1
    assert recorder.of(SequenceBroken) == [SequenceBroken(2, 3)]


@pytest.mark.opamp("H-03")
@pytest.mark.parametrize(
    "content_type", ["application/x-protobuf; charset=utf-8", "Application/X-Protobuf ; v=1"]
)
async def test_parameters_and_case_of_the_content_type_do_not_matter(
    http: httpx.AsyncClient, content_type: str
) -> None:
    response = await post(http, Hand(UID).hello(), content_type=content_type)
    assert response.status_code == 200


@pytest.mark.opamp("H-10")
async def test_a_gzipped_request_is_read(http: httpx.AsyncClient, server: OpAMPServer) -> None:
    body = gzip.compress(Hand(UID).hello().SerializeToString())
    await answer(http, body, content_encoding="GZIP")
    assert UID in server.agents


@pytest.mark.opamp("H-11")
@pytest.mark.parametrize(
    ("accepts", "encoding"),
    [("gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("*", "gzip"), ("gzip;q=0", None), ("br", None)],
)
async def test_a_response_is_compressed_as_the_agent_accepts(
    http: httpx.AsyncClient, server: OpAMPServer, accepts: str, encoding: str | None
) -> None:
    agent = Hand(UID)
    await answer(http, agent.hello())
    await server.agents[UID].offer_config({"a": ConfigFile(b"x" * 5000)}, b"one")
    response = await post(http, agent.says(), accept_encoding=accepts)
    assert response.headers.get("content-encoding") == encoding
    message = opamp_pb2.ServerToAgent.FromString(response.content)
    assert message.remote_config.config.config_map["a"].body == b"x" * 5000


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", PROTOBUF, 405),
        ("PUT", PROTOBUF, 405),
        ("POST", {}, 415),
        ("POST", {"content-type": "application/json"}, 415),
        ("POST", {**PROTOBUF, "content-encoding": "br"}, 415),
    ],
)
async def test_what_is_no_opamp_request_is_refused(
    http: httpx.AsyncClient, method: str, headers: dict[str, str], status: int
) -> None:
    response = await http.request(method, "/v1/opamp", headers=headers)
    assert response.status_code == status
    assert response.text
    assert (response.headers.get("allow") == "POST") == (status == 405)


@pytest.mark.opamp("A-02")
@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_the_handlers_refusal_is_the_status_before_the_body_is_read(
    recorder: Recorder, status: int
) -> None:
    recorder.refuse = status
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": [], "client": None}
    server = make_server(recorder)
    await server(scope, receive, send)
    await server.close()
    assert sent[0]["status"] == status
    headers = dict(sent[0]["headers"])
    assert (b"www-authenticate" in headers) == (status == 401)
    assert (headers.get(b"retry-after") == b"30") == (status in (429, 503))


@pytest.mark.opamp("L-09")
async def test_a_body_over_the_limit_is_413(http: httpx.AsyncClient) -> None:
    assert (await post(http, b"x" * (LIMIT + 1))).status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * (LIMIT // 4)

    response = await http.post("/v1/opamp", content=chunks(), headers=PROTOBUF)
    assert response.status_code == 413


@pytest.mark.parametrize("digits", [20, 5000])
def test_a_length_of_any_length_is_read(digits: int) -> None:
    with pytest.raises(serve_http.Refused) as caught:
        serve_http.check_head("POST", {**PROTOBUF, "content-length": "9" * digits}, LIMIT)
    assert caught.value.status == 413
    serve_http.check_head("POST", {**PROTOBUF, "content-length": "99"}, LIMIT)


@pytest.mark.opamp("L-09")
async def test_a_small_body_that_inflates_over_the_limit_is_413(http: httpx.AsyncClient) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 50_000
    small = gzip.compress(bytes(LIMIT + 1))
    for body in (bomb[:LIMIT], small):
        assert (await post(http, body, content_encoding="gzip")).status_code == 413


@pytest.mark.opamp("F-07")
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\xff\xff", {}),
        (b"", {}),
        (b"no gzip", {"content_encoding": "gzip"}),
        (gzip.compress(b"cut off", mtime=0)[:-4], {"content_encoding": "gzip"}),
        (gzip.compress(b"", mtime=0) + b"more", {"content_encoding": "gzip"}),
    ],
)
async def test_a_malformed_message_is_a_bad_request_addressed_by_the_header(
    http: httpx.AsyncClient, body: bytes, headers: dict[str, str]
) -> None:
    uid = str(uuid.UUID(bytes=UID))
    reply = await answer(http, body, opamp_instance_uid=uid, **headers)
    assert reply.error_response.type == opamp_pb2.ServerErrorResponseType_BadRequest
    assert reply.instance_uid == UID


@pytest.mark.opamp("U-01")
async def test_a_uid_of_the_wrong_length_is_a_bad_request(
    http: httpx.AsyncClient, server: OpAMPServer
) -> None:
    reply = await answer(http, Hand(b"u" * 26).hello())
    assert reply.error_response.type == opamp_pb2.ServerErrorResponseType_BadRequest
    assert "16 bytes" in reply.error_response.error_message
    assert not server.agents


async def test_goodbye_over_http_is_taken_at_its_word(
    http: httpx.AsyncClient, server: OpAMPServer, recorder: Recorder
) -> None:
    agent = Hand(UID)
    await answer(http, agent.hello())
    await answer(http, agent.says(agent_disconnect=opamp_pb2.AgentDisconnect()))
    assert not server.agents[UID].connected
    assert recorder.of(AgentDisconnected)[0].reason == "the agent disconnected"


@pytest.mark.opamp("C-08")
async def test_an_agent_that_stops_polling_is_gone_and_back_with_its_next_request(
    recorder: Recorder,
) -> None:
    server = make_server(recorder)
    agent = Hand(UID)
    transport = httpx.ASGITransport(app=server)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        await answer(http, agent.hello())
        seen = server.agents[UID].last_seen
        await server._sweep(seen + 80.0)
        assert server.agents[UID].connected
        await server._sweep(seen + 91.0)
        assert not server.agents[UID].connected
        assert recorder.of(AgentDisconnected)[0].reason == "nothing heard for 90 s"
        await answer(http, agent.says())
        assert server.agents[UID].connected
        assert recorder.of(SequenceBroken) == []
        await server._sweep(seen + 200.0)
        await server._sweep(seen + 4000.0)
        assert not server.agents
    await server.close()


async def test_an_agent_that_wants_a_uid_gets_the_same_one_if_it_asks_again(
    http: httpx.AsyncClient, server: OpAMPServer
) -> None:
    agent = Hand(UID)
    first = (await answer(http, agent.hello(flags=1))).agent_identification.new_instance_uid
    again = (await answer(http, agent.says(flags=1))).agent_identification.new_instance_uid
    assert first == again != UID
    assert list(server.agents) == [first]


async def test_an_agent_may_change_from_websocket_to_http(
    http: httpx.AsyncClient, server: OpAMPServer
) -> None:
    agent = Hand(UID)
    async with Socket(server).open() as line:
        await line.got()
        await line.exchange(agent.hello())
        assert not (await answer(http, agent.says())).HasField("agent_identification")
        assert (await line.got())["code"] == 1008
        assert (server.agents[UID].transport, server.agents[UID].connected) == ("http", True)
    assert server.agents[UID].connected


async def test_a_request_that_does_not_arrive_in_time_is_408(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_http, "READ_S", 0.01)
    server = make_server(recorder)

    async def trickle() -> AsyncIterator[bytes]:
        yield b"x"
        await forever.wait()

    forever = anyio.Event()
    transport = httpx.ASGITransport(app=server)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        response = await http.post("/v1/opamp", content=trickle(), headers=PROTOBUF)
    assert response.status_code == 408
    await server.close()


@pytest.mark.opamp("Y-03")
async def test_a_server_that_is_closing_refuses_with_503(
    http: httpx.AsyncClient, server: OpAMPServer
) -> None:
    await server.close()
    response = await post(http, Hand(UID).hello())
    assert (response.status_code, response.headers["retry-after"]) == (503, "30")


@pytest.mark.opamp("U-09")
async def test_two_agents_with_a_copied_uid_become_two_and_one_of_them_is_told(
    recorder: Recorder,
) -> None:
    server = make_server(recorder)
    one, two = Hand(UID), Hand(UID)
    one.number = 40
    name = opamp_pb2.ComponentHealth(status="two")
    async with _from(server, 1) as first, _from(server, 2) as second:
        await answer(first, one.hello())
        assigned = b""
        for _ in range(3):
            told = await answer(second, two.says(health=name))
            assigned = told.agent_identification.new_instance_uid
            again = await answer(second, two.says())  # the answer was lost on the way
            assert again.agent_identification.new_instance_uid in (assigned, b"")
            assert not (await answer(first, one.says())).HasField("agent_identification")
        assert len(assigned) == 16
        two.uid = assigned
        await answer(second, two.hello())
        assert not (await answer(first, one.hello())).HasField("agent_identification")
        assert set(server.agents) == {UID, assigned}
        assert all(link.connected for link in server.agents.values())
    await server.close()


async def test_a_restarted_agent_keeps_its_uid(recorder: Recorder) -> None:
    server = make_server(recorder)
    for port in range(4):
        agent = Hand(UID)
        async with _from(server, port) as http:
            for _ in range(5):
                told = await answer(http, agent.hello())
                assert not told.HasField("agent_identification")
    assert list(server.agents) == [UID]
    await server.close()


def _from(server: OpAMPServer, port: int) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=server, client=("127.0.0.1", port))
    return httpx.AsyncClient(transport=transport, base_url="http://test")
