from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llm_observe.opamp import wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.events import (
    AgentConnected,
    AgentDisconnected,
    Malformed,
    SequenceBroken,
    StatusReported,
    UidRequested,
)
from llm_observe.opamp.io import sending, serve_websocket
from llm_observe.opamp.io.asgi import AgentLink
from llm_observe.opamp.values import AgentCapabilities, ConfigFile
from tests.opamp.io.peers import MANAGED, Hand, Recorder, Socket, make_server

pytestmark = pytest.mark.anyio

UID, OTHER = b"a" * 16, b"b" * 16
FILES = {"a": ConfigFile(b"{}", "application/json")}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.mark.opamp("Q-06", "Q-07")
async def test_every_message_is_answered_also_a_repeat(recorder: Recorder) -> None:
    server, agent = make_server(recorder), Hand(UID)
    async with Socket(server).open() as line:
        assert (await line.got())["type"] == "websocket.accept"
        first = agent.hello()
        assert (await line.exchange(first)).instance_uid == UID
        beat = agent.says()
        for _ in range(2):
            assert (await line.exchange(beat)).instance_uid == UID
    assert recorder.of(SequenceBroken) == []
    assert recorder.headers == [{"authorization": "Bearer t"}]
    assert recorder.clients == [("127.0.0.1", 5)]


async def test_an_agent_is_listed_with_what_it_said_and_after_it_left(recorder: Recorder) -> None:
    server, agent = make_server(recorder), Hand(UID)
    async with Socket(server).open() as line:
        await line.got()
        await line.exchange(agent.hello())
        link = server.agents[UID]
        assert (link.connected, link.transport) == (True, "websocket")
        assert link.state.sequence_num == 0
    assert not link.connected
    assert server.agents[UID].state.description is not None
    assert recorder.of(AgentDisconnected)[0].reason == "the agent closed the connection"


@pytest.mark.opamp("W-07", "R-11")
async def test_an_offer_is_pushed_and_not_again_once_its_hash_is_reported(
    recorder: Recorder,
) -> None:
    server, agent = make_server(recorder), Hand(UID)
    async with Socket(server).open() as line:
        await line.got()
        await line.exchange(agent.hello())
        await server.agents[UID].offer_config(FILES, b"one")
        assert (await line.reply()).remote_config.config_hash == b"one"
        applied = opamp_pb2.RemoteConfigStatus(last_remote_config_hash=b"one")
        answer = await line.exchange(agent.says(remote_config_status=applied))
        assert not answer.HasField("remote_config")
        await server.agents[UID].offer_config(FILES, b"one")
        assert not (await line.exchange(agent.says())).HasField("remote_config")
        assert line.silent


async def test_an_offer_made_by_the_handler_travels_with_the_answer(recorder: Recorder) -> None:
    async def offer(agent: AgentLink, event: Any) -> None:
        if isinstance(event, StatusReported):
            await agent.offer_config(FILES, b"one")

    recorder.then = offer
    async with Socket(make_server(recorder)).open() as line:
        await line.got()
        answer = await line.exchange(Hand(UID).hello())
        assert answer.remote_config.config_hash == b"one"
        assert line.silent


@pytest.mark.opamp("F-01")
@pytest.mark.parametrize("data", [b"\x01", b"\x00\xff\xff", b"", b"\x00"])
async def test_malformed_bytes_are_answered_and_too_many_end_the_line(
    recorder: Recorder, data: bytes
) -> None:
    async with Socket(make_server(recorder)).open() as line:
        await line.got()
        for _ in range(serve_websocket.MAX_MALFORMED):
            line.put(data)
            answer = await line.reply()
            assert answer.error_response.type == opamp_pb2.ServerErrorResponseType_BadRequest
        line.put(data)
        assert (await line.got())["code"] == 1008


@pytest.mark.opamp("W-01")
async def test_a_text_frame_ends_the_line(recorder: Recorder) -> None:
    async with Socket(make_server(recorder)).open() as line:
        await line.got()
        line.put("text")
        assert (await line.got())["code"] == 1003


@pytest.mark.opamp("L-03")
async def test_a_message_over_the_limit_ends_the_line_with_1009(recorder: Recorder) -> None:
    async with Socket(make_server(recorder, max_message_bytes=100)).open() as line:
        await line.got()
        line.put(b"\x00" * 101)
        assert (await line.got())["code"] == 1009


@pytest.mark.opamp("F-01")
async def test_parts_that_cannot_be_read_are_a_bad_request_and_told(recorder: Recorder) -> None:
    deep = opamp_pb2.ComponentHealth()
    for _ in range(40):
        deep = opamp_pb2.ComponentHealth(component_health_map={"c": deep})
    async with Socket(make_server(recorder)).open() as line:
        await line.got()
        agent = Hand(UID)
        await line.exchange(agent.hello())
        answer = await line.exchange(agent.says(health=deep))
        assert answer.error_response.type == opamp_pb2.ServerErrorResponseType_BadRequest
        assert answer.instance_uid == UID
    assert len(recorder.of(Malformed)) == 1


@pytest.mark.opamp("Q-08")
async def test_a_handler_that_fails_makes_the_agent_come_back_and_tell_all_again(
    recorder: Recorder,
) -> None:
    async with Socket(make_server(recorder)).open() as line:
        await line.got()
        agent = Hand(UID)
        recorder.fail = RuntimeError("the disk is full")
        answer = await line.exchange(agent.hello())
        assert answer.error_response.type == opamp_pb2.ServerErrorResponseType_Unavailable
        assert answer.error_response.retry_info.retry_after_nanoseconds == 10_000_000_000
        assert "disk" not in answer.error_response.error_message
        recorder.fail = None
        assert (await line.exchange(agent.says())).flags == 1
    assert len(recorder.of(AgentConnected)) == 1


async def test_what_an_agent_said_before_it_left_without_reading_the_answers_is_heard(
    recorder: Recorder,
) -> None:
    async def store(agent: Any, event: Any) -> None:
        for _ in range(5):  # as long as it takes, messages before the last are not cut short
            await asyncio.sleep(0)

    recorder.then = store
    server, agent = make_server(recorder), Hand(UID)
    async with Socket(server).open() as line:
        await line.got()
        await line.exchange(agent.hello())
        line.left = True
        line.say(agent.says(health=opamp_pb2.ComponentHealth(healthy=False)))
        line.say(agent.says(health=opamp_pb2.ComponentHealth(healthy=False, status="stopping")))
        line.say(agent.says(agent_disconnect=opamp_pb2.AgentDisconnect()))
    health = server.agents[UID].state.health
    assert health is not None
    assert health.status == "stopping"
    assert [event.reason for event in recorder.of(AgentDisconnected)] == ["the agent disconnected"]


async def test_a_peer_that_does_not_read_holds_up_nobody_else(recorder: Recorder) -> None:
    server, slow, quick = make_server(recorder), Hand(UID), Hand(OTHER)
    async with Socket(server).open() as stuck, Socket(server).open() as line:
        await stuck.got()
        await line.got()
        await stuck.exchange(slow.hello())
        await line.exchange(quick.hello())
        stuck.reading.clear()
        for _ in range(3 * serve_websocket.MAX_OWED):
            stuck.say(slow.says())
        for link in server.agents.values():
            await link.offer_config(FILES, b"one")
        assert (await line.reply()).remote_config.config_hash == b"one"
        assert server.agents[UID].state.sequence_num <= 2 * serve_websocket.MAX_OWED


async def test_a_peer_that_never_reads_is_given_up(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SEND_S", 0.05)
    monkeypatch.setattr(serve_websocket, "CLOSE_S", 0.05)
    server = make_server(recorder)
    async with Socket(server).open() as line:
        await line.got()
        await line.exchange((agent := Hand(UID)).hello())
        line.reading.clear()
        line.say(agent.says())
        while server.agents[UID].connected:  # noqa: ASYNC110  # bounded by the deadline below
            await asyncio.sleep(0.01)
    assert recorder.of(AgentDisconnected)[0].reason == "the agent does not read"


async def test_a_line_on_which_nobody_speaks_is_closed(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_websocket, "FIRST_MESSAGE_S", 0.01)
    async with Socket(make_server(recorder)).open() as line:
        await line.got()
        assert (await line.got())["code"] == 1008


@pytest.mark.opamp("C-14")
async def test_two_agents_may_share_a_line_and_one_goodbye_ends_one(recorder: Recorder) -> None:
    server, one, two = make_server(recorder), Hand(UID), Hand(OTHER)
    async with Socket(server).open() as line:
        await line.got()
        assert (await line.exchange(one.hello())).instance_uid == UID
        assert (await line.exchange(two.hello())).instance_uid == OTHER
        await line.exchange(one.says(agent_disconnect=opamp_pb2.AgentDisconnect()))
        assert not server.agents[UID].connected
        assert (await line.exchange(two.says())).instance_uid == OTHER
    assert len(recorder.of(AgentDisconnected)) == 2


@pytest.mark.opamp("C-12")
async def test_the_same_agent_on_a_new_line_takes_over_and_the_old_line_is_closed(
    recorder: Recorder,
) -> None:
    server, agent = make_server(recorder), Hand(UID)
    async with Socket(server).open() as old, Socket(server).open() as new:
        await old.got()
        await new.got()
        await old.exchange(agent.hello())
        answer = await new.exchange(agent.says())
        assert not answer.HasField("agent_identification")
        assert (await old.got())["code"] == 1008
        await server.agents[UID].offer_config(FILES, b"one")
        assert (await new.reply()).HasField("remote_config")
    assert list(server.agents) == [UID]


@pytest.mark.opamp("U-09")
async def test_a_second_agent_with_the_same_uid_gets_another_one(recorder: Recorder) -> None:
    server, one, copy = make_server(recorder), Hand(UID), Hand(UID)
    async with Socket(server).open() as first, Socket(server).open() as second:
        await first.got()
        await second.got()
        await first.exchange(one.hello())
        await first.exchange(one.says())
        answer = await second.exchange(copy.hello())
        new = answer.agent_identification.new_instance_uid
        assert answer.instance_uid == UID
        assert set(server.agents) == {UID, new}
        # one that does not take it up is told again, and kept apart all the same
        assert (await second.exchange(copy.says())).agent_identification.new_instance_uid == new
        copy.uid = new
        answer = await second.exchange(copy.says())
        assert (answer.instance_uid, answer.HasField("agent_identification")) == (new, False)
        assert not (await first.exchange(one.says())).HasField("agent_identification")
    assert recorder.of(SequenceBroken) == []


@pytest.mark.opamp("U-07")
async def test_an_agent_that_wants_a_uid_gets_one(recorder: Recorder) -> None:
    server = make_server(recorder)
    async with Socket(server).open() as line:
        await line.got()
        answer = await line.exchange(Hand(UID).hello(flags=1))
        new = answer.agent_identification.new_instance_uid
        assert (len(new), list(server.agents)) == (16, [new])
    assert len(recorder.of(UidRequested, new)) == 1


@pytest.mark.opamp("C-13")
async def test_goodbye_frees_the_uid_for_a_restarted_agent(recorder: Recorder) -> None:
    server, agent = make_server(recorder), Hand(UID)
    async with Socket(server).open() as old, Socket(server).open() as new:
        await old.got()
        await new.got()
        await old.exchange(agent.hello())
        await old.exchange(agent.says(agent_disconnect=opamp_pb2.AgentDisconnect()))
        answer = await new.exchange(Hand(UID).hello())
        assert not answer.HasField("agent_identification")


@pytest.mark.opamp("Y-01")
async def test_no_room_for_another_agent_is_said_so(recorder: Recorder) -> None:
    server = make_server(recorder, max_agents=1)
    async with Socket(server).open() as line:
        await line.got()
        await line.exchange((one := Hand(UID)).hello())
        answer = await line.exchange(Hand(OTHER).hello())
        assert answer.error_response.type == opamp_pb2.ServerErrorResponseType_Unavailable
        await line.exchange(one.says(agent_disconnect=opamp_pb2.AgentDisconnect()))
        assert not (await line.exchange(Hand(OTHER).hello())).HasField("error_response")
        assert list(server.agents) == [OTHER]


async def test_the_agents_that_are_gone_for_longest_make_room(recorder: Recorder) -> None:
    server = make_server(recorder, max_agents=200)
    hands = [Hand(number.to_bytes(16)) for number in range(1, 202)]
    async with Socket(server).open() as line:
        await line.got()
        for hand in hands[:200]:
            await line.exchange(hand.hello())
            await line.exchange(hand.says(agent_disconnect=opamp_pb2.AgentDisconnect()))
        await line.exchange(hands[200].hello())
    assert list(server.agents) == [hand.uid for hand in hands[2:]]


@pytest.mark.opamp("Y-01")
async def test_one_line_does_not_take_the_room_of_all_others(recorder: Recorder) -> None:
    server = make_server(recorder, max_agents_per_connection=2)
    hands = [Hand(bytes([n]) * 16) for n in range(1, 5)]
    async with Socket(server).open() as line, Socket(server).open() as another:
        await line.got()
        for hand in hands[:2]:
            await line.exchange(hand.hello())
        answer = await line.exchange(hands[2].hello())
        assert answer.error_response.type == opamp_pb2.ServerErrorResponseType_Unavailable
        await another.got()
        assert not (await another.exchange(hands[2].hello())).HasField("error_response")
        await line.exchange(hands[0].says(agent_disconnect=opamp_pb2.AgentDisconnect()))
        assert not (await line.exchange(hands[3].hello())).HasField("error_response")
        assert not (await line.exchange(hands[1].says())).HasField("error_response")


@pytest.mark.opamp("Y-03")
async def test_no_room_for_another_line_is_a_503_before_the_upgrade(recorder: Recorder) -> None:
    server = make_server(recorder, max_connections=1)
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    async with Socket(server).open() as line:
        await line.got()
        async with Socket(server, extensions).open() as second:
            answer = await second.got()
            assert answer["status"] == 503
            assert (b"retry-after", b"30") in answer["headers"]
    async with Socket(server).open() as third:
        assert (await third.got())["type"] == "websocket.accept"


@pytest.mark.opamp("C-05")
async def test_closing_the_server_closes_every_line(recorder: Recorder) -> None:
    server = make_server(recorder)
    async with Socket(server).open() as line:
        await line.got()
        await line.exchange(Hand(UID).hello())
        await server.close()
        assert (await line.got()) == {
            "type": "websocket.close",
            "code": 1001,
            "reason": "the server stops",
        }
    assert recorder.of(AgentDisconnected)[0].reason == "the server stops"


@pytest.mark.opamp("A-01")
async def test_an_unwelcome_upgrade_is_refused_by_status_where_the_web_server_can(
    recorder: Recorder,
) -> None:
    recorder.refuse = 401
    async with Socket(make_server(recorder), {"websocket.http.response": {}}).open() as line:
        start = await line.got()
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
        assert (b"www-authenticate", b"Bearer") in start["headers"]
    async with Socket(make_server(recorder)).open() as line:
        assert (await line.got())["type"] == "websocket.close"


@pytest.mark.opamp("I-07")
async def test_an_agent_that_promised_to_beat_and_does_not_is_given_up(recorder: Recorder) -> None:
    server = make_server(recorder, heartbeat_s=0.02)
    beats = int(AgentCapabilities.REPORTS_STATUS | AgentCapabilities.REPORTS_HEARTBEAT)
    async with Socket(server).open() as line, Socket(server).open() as quiet:
        await line.got()
        await quiet.got()
        await line.exchange(Hand(UID, beats).hello())
        await quiet.exchange(Hand(OTHER).hello())
        assert (await line.got())["code"] == 1008
        assert server.agents[OTHER].connected  # it promised nothing
    assert recorder.of(AgentDisconnected, UID)[0].reason.startswith("nothing heard")


@pytest.mark.opamp("Q-16")
async def test_a_reply_is_composed_when_its_turn_comes(recorder: Recorder) -> None:
    server, agent = make_server(recorder), Hand(UID)
    async with Socket(server).open() as line:
        await line.got()
        await line.exchange(agent.hello())
        line.reading.clear()
        line.put(wire.encode(agent.says(), framed=True))
        for name in (b"one", b"two", b"three"):
            await server.agents[UID].offer_config(FILES, name)
        line.reading.set()
        offered = [await line.reply()]
        while not offered[-1].HasField("remote_config"):
            offered.append(await line.reply())
        assert offered[-1].remote_config.config_hash == b"three"


@pytest.mark.opamp("J-06")
async def test_custom_messages_made_at_once_are_all_pushed(recorder: Recorder) -> None:
    server, agent = make_server(recorder), Hand(UID)
    async with Socket(server).open() as line:
        await line.got()
        await line.exchange(agent.hello(custom_capabilities={"capabilities": ["c"]}))
        for number in range(3):
            await server.agents[UID].send_custom("c", "t", bytes([number]))
        assert [(await line.reply()).custom_message.data for _ in range(3)] == [b"\0", b"\1", b"\2"]


async def test_a_restart_and_other_wishes_are_pushed(recorder: Recorder) -> None:
    server = make_server(recorder)
    agent = Hand(UID, int(MANAGED | AgentCapabilities.ACCEPTS_RESTART_COMMAND))
    async with Socket(server).open() as line:
        await line.got()
        await line.exchange(agent.hello())
        link = server.agents[UID]
        await link.restart()
        assert (await line.reply()).HasField("command")
        await link.ask_for_everything()
        assert (await line.reply()).flags == 1
