from __future__ import annotations

from typing import Any

import pytest

from llm_observe.errors import LocalProtocolError, MalformedMessage, MessageTooLarge
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.connections import ConnectionOffer, ConnectionSettings, ProxySettings
from llm_observe.opamp.events import (
    AgentConnected,
    AgentDisconnected,
    CustomMessageReceived,
    SequenceBroken,
    ServerEvent,
    StatusReported,
    UidRequested,
)
from llm_observe.opamp.interning import Interned
from llm_observe.opamp.server import MAX_VAIN, REPEAT_S, ServerProtocol, refusal
from llm_observe.opamp.values import (
    AgentCapabilities,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    ConnectionStatus,
    ErrorKind,
    Health,
    ServerCapabilities,
)
from tests.link import AGENT, SERVER, UID, fields, make_server

FULL, COMPONENTS = 1, 2
PLAIN = AgentCapabilities.REPORTS_STATUS | AgentCapabilities.ACCEPTS_REMOTE_CONFIG
MANAGED = PLAIN | AgentCapabilities.REPORTS_REMOTE_CONFIG
FILES = {"a": ConfigFile(b"{}", "application/json")}


def message(number: int = 0, **content: Any) -> opamp_pb2.AgentToServer:
    given = {"instance_uid": UID, "capabilities": int(PLAIN), **content}
    return opamp_pb2.AgentToServer(sequence_num=number, **given)


def hello(number: int = 0, **content: Any) -> opamp_pb2.AgentToServer:
    described = message(number, **content)
    described.agent_description.SetInParent()
    return described


def reply(server: ServerProtocol, now: float = 0.0) -> opamp_pb2.ServerToAgent:
    return opamp_pb2.ServerToAgent.FromString(server.reply(now))


def status(config_hash: bytes, state: str = "APPLIED") -> opamp_pb2.RemoteConfigStatus:
    return opamp_pb2.RemoteConfigStatus(
        last_remote_config_hash=config_hash, status=f"RemoteConfigStatuses_{state}"
    )


def kinds(happened: tuple[ServerEvent, ...]) -> list[type[ServerEvent]]:
    return [type(event) for event in happened]


def known(server: ServerProtocol | None = None, **content: Any) -> ServerProtocol:
    """A server that has heard an agent's first message and answered."""
    server = server or make_server()
    server.line_opened()
    server.receive(hello(**content))
    server.reply(0.0)
    return server


# ----------------------------------------------------------------------------------------- hearing


def test_a_first_message_connects_the_agent_and_is_its_state() -> None:
    server = make_server()
    connected, reported = server.receive(hello(capabilities=int(AGENT)))
    assert connected == AgentConnected()
    assert isinstance(reported, StatusReported)
    assert reported.changed == {"description", "capabilities"}
    assert (reported.state, reported.state.sequence_num) == (server.state, 0)
    assert reported.state.health is None


def test_a_heartbeat_is_no_event() -> None:
    assert known().receive(message(1)) == ()


def test_capabilities_left_out_of_a_heartbeat_are_as_before_and_a_change_is_told() -> None:
    server = known()
    assert server.receive(message(1, capabilities=0)) == ()
    (event,) = server.receive(message(2, capabilities=1))
    assert isinstance(event, StatusReported)
    assert event.changed == {"capabilities"}


def test_a_part_said_again_is_no_change() -> None:
    health = opamp_pb2.ComponentHealth(healthy=True)
    server = known()
    (event,) = server.receive(message(1, health=health))
    assert isinstance(event, StatusReported)
    assert event.changed == {"health"}
    assert event.state.health == Health()
    assert server.receive(message(2, health=health)) == ()


@pytest.mark.opamp("Q-02")
def test_a_gap_is_told_and_a_full_report_asked_for() -> None:
    server = known()
    assert server.receive(message(2)) == (SequenceBroken(expected=1, received=2),)
    assert reply(server).flags == FULL


def test_an_agent_that_starts_anew_with_its_old_uid_is_a_gap() -> None:
    server = known()
    server.receive(message(1))
    server.line_closed("the connection broke")
    server.line_opened()
    assert kinds(server.receive(hello(0))) == [AgentConnected, SequenceBroken]
    assert reply(server).flags == FULL


@pytest.mark.opamp("Q-07")
def test_a_repeat_is_answered_and_processed_once() -> None:
    server = known(make_server(custom_capabilities=frozenset({"c"})))
    custom = opamp_pb2.CustomMessage(capability="c", type="t", data=b"d")
    told = server.receive(message(1, custom_message=custom))
    assert told == (CustomMessageReceived("c", "t", b"d"),)
    assert server.receive(message(1, custom_message=custom)) == ()
    assert fields(reply(server)) == {"instance_uid", "capabilities"}


@pytest.mark.opamp("J-04")
def test_a_custom_message_of_a_capability_that_was_not_announced_is_ignored() -> None:
    custom = opamp_pb2.CustomMessage(capability="c", type="t", data=b"d")
    assert known().receive(message(1, custom_message=custom)) == ()


def test_another_message_with_the_same_number_is_a_gap() -> None:
    server = known()
    server.receive(message(1))
    health = opamp_pb2.ComponentHealth(healthy=True)
    assert SequenceBroken(2, 1) in server.receive(message(1, health=health))


def test_an_unknown_agent_that_leaves_things_out_is_asked_for_all() -> None:
    server = make_server()
    server.receive(message(7))
    assert reply(server).flags == FULL
    server.receive(hello(8))
    assert reply(server).flags == 0


def test_an_agents_very_first_message_needs_no_asking() -> None:
    server = make_server()
    server.receive(hello(0, capabilities=int(AGENT)))
    assert reply(server).flags == 0


@pytest.mark.opamp("Q-03")
def test_a_later_message_of_an_unknown_agent_may_have_left_anything_out() -> None:
    server = make_server()
    server.receive(hello(7))
    assert reply(server).flags == FULL
    server.receive(hello(8))
    assert reply(server, 100.0).flags == 0


def test_an_agent_that_cannot_keep_its_promises_is_asked_a_few_times_and_then_left_alone() -> None:
    server, now, asked = make_server(), 0.0, 0
    for number in range(7, 20):
        server.receive(hello(number, capabilities=int(AGENT)))
        asked += reply(server, now).flags
        now += 30.0
    assert asked == MAX_VAIN


def test_an_agent_that_answers_at_once_without_complying_is_not_asked_at_once_again() -> None:
    server, flags = make_server(), []
    for number in range(7, 17):  # an echo, all in one moment
        server.receive(message(number))
        flags.append(reply(server, now=1.0).flags)
    assert flags == [FULL, *[0] * 9]
    server.receive(message(17))
    assert reply(server, now=1.0 + REPEAT_S).flags == FULL


def test_an_agent_whose_numbers_are_always_wrong_does_not_start_an_echo() -> None:
    server, flags = known(), []
    for text in "abcdefgh":
        health = opamp_pb2.ComponentHealth(status=text)
        server.receive(hello(5, health=health))
        flags.append(reply(server, now=1.0).flags)
    assert sum(flags) <= 2
    assert server.state.health == Health(healthy=False, status="h")


@pytest.mark.opamp("B-06")
def test_the_list_behind_an_unknown_hash_is_asked_for_and_kept_while_the_hash_stays() -> None:
    server = known()
    bare = opamp_pb2.AvailableComponents(hash=b"one")
    server.receive(message(1, available_components=bare))
    assert reply(server).flags == COMPONENTS
    whole = opamp_pb2.AvailableComponents(hash=b"one")
    whole.components["a"].SetInParent()
    server.receive(message(2, available_components=whole))
    assert reply(server).flags == 0
    assert server.receive(message(3, available_components=bare)) == ()
    other = opamp_pb2.AvailableComponents(hash=b"two")
    server.receive(message(4, available_components=other))
    assert server.state.components is not None
    assert server.state.components.components is None
    assert reply(server).flags == COMPONENTS


def test_a_message_that_cannot_be_read_leaves_the_state_and_counts_as_heard() -> None:
    deep = opamp_pb2.ComponentHealth()
    for _ in range(40):
        deep = opamp_pb2.ComponentHealth(component_health_map={"c": deep})
    server = known()
    former = server.state.health
    with pytest.raises(MalformedMessage):
        server.receive(message(1, health=deep))
    assert server.state.health == former
    assert server.receive(message(2)) == ()


@pytest.mark.opamp("C-13")
def test_goodbye_and_a_broken_line_are_told_once_and_the_state_stays() -> None:
    server = known()
    disconnect = opamp_pb2.AgentDisconnect()
    told = server.receive(message(1, agent_disconnect=disconnect))
    assert told == (AgentDisconnected("the agent disconnected"),)
    assert server.line_closed("the connection broke") == ()
    assert server.state.description is not None


def test_a_wish_for_a_uid_is_told() -> None:
    assert UidRequested() in make_server().receive(hello(flags=1))


def test_what_is_forgotten_is_asked_for_again() -> None:
    server = known()
    server.receive(message(1))
    server.forget()
    assert kinds(server.receive(message(2))) == [AgentConnected, StatusReported]
    assert reply(server).flags == FULL


def test_an_agent_that_was_forgotten_and_leaves_is_told_to_have_left() -> None:
    server = known()
    server.forget()
    assert server.line_closed("gone") == (AgentDisconnected("gone"),)
    assert server.line_closed("gone") == ()
    server = make_server()
    server.forget()
    assert server.line_closed("never told of") == ()


# ---------------------------------------------------------------------------------------- speaking


@pytest.mark.opamp("P-07", "P-08")
def test_capabilities_are_in_every_reply() -> None:
    server = known()
    assert [reply(server).capabilities for _ in range(2)] == [int(SERVER) | 1] * 2


@pytest.mark.opamp("U-05")
def test_a_reply_goes_to_the_uid_that_spoke_and_tells_it_the_right_one() -> None:
    server = make_server()
    server.receive(hello(instance_uid=b"t" * 16))
    answer = reply(server)
    assert answer.instance_uid == b"t" * 16
    assert answer.agent_identification.new_instance_uid == UID
    server.receive(message(1))
    answer = reply(server)
    assert (answer.instance_uid, answer.HasField("agent_identification")) == (UID, False)


@pytest.mark.opamp("F-04")
def test_an_error_response_has_nothing_beside_it() -> None:
    data = refusal(UID, ErrorKind.UNAVAILABLE, "busy", 1.5)
    answer = opamp_pb2.ServerToAgent.FromString(data)
    assert fields(answer) == {"instance_uid", "error_response"}
    assert answer.error_response.retry_info.retry_after_nanoseconds == 1_500_000_000
    bare = opamp_pb2.ServerToAgent.FromString(refusal(b"", ErrorKind.BAD_REQUEST, "bad"))
    assert not bare.error_response.HasField("retry_info")


@pytest.mark.opamp("P-10", "R-02")
def test_an_offer_waits_for_an_agent_that_accepts_it() -> None:
    server = make_server()
    server.offer_config(FILES, b"one")
    assert not server.has_news()
    server.receive(hello(capabilities=1))
    assert not server.has_news()
    assert not reply(server).HasField("remote_config")
    server.receive(message(1))
    assert server.has_news()
    assert reply(server).remote_config.config_hash == b"one"
    assert not server.has_news()


@pytest.mark.opamp("R-05", "R-06", "R-07")
@pytest.mark.parametrize("state", ["APPLIED", "APPLYING", "FAILED"])
def test_an_offer_is_repeated_until_its_hash_comes_back_whatever_became_of_it(state: str) -> None:
    server = known(capabilities=int(MANAGED), remote_config_status=status(b"zero"))
    server.offer_config(FILES, b"one")
    assert reply(server, 0.0).HasField("remote_config")
    assert not reply(server, 1.0).HasField("remote_config")  # it may be at it
    assert reply(server, 1.0 + REPEAT_S).HasField("remote_config")
    server.receive(message(1, capabilities=0, remote_config_status=status(b"one", state)))
    assert not reply(server, 100.0).HasField("remote_config")
    assert server.state.config_status == ConfigStatus(b"one", ConfigState[state])


def test_an_agent_that_never_says_what_it_has_is_offered_once_a_line() -> None:
    server = known()
    server.offer_config(FILES, b"one")
    assert reply(server, 0.0).HasField("remote_config")
    assert not reply(server, 100.0).HasField("remote_config")
    server.line_opened()
    assert reply(server, 200.0).HasField("remote_config")


def test_the_same_offer_is_no_news_and_a_cleared_one_is_gone() -> None:
    server = known()
    server.offer_config(FILES, b"one")
    reply(server)
    server.offer_config(FILES, b"one")
    assert not server.has_news()
    server.offer_config(FILES, b"two")
    assert server.has_news()
    server.clear_offer()
    assert not server.has_news()
    assert not reply(server).HasField("remote_config")


@pytest.mark.opamp("L-06", "R-03")
def test_an_offer_needs_a_hash_and_a_size_within_the_limit() -> None:
    server = make_server(max_message_bytes=2000)
    with pytest.raises(LocalProtocolError):
        server.offer_config(FILES, b"")
    with pytest.raises(MessageTooLarge):
        server.offer_config({"a": ConfigFile(b"x" * 2000)}, b"one")


@pytest.mark.opamp("I-06")
def test_the_interval_of_heartbeats_is_offered_once_a_line_to_agents_that_beat() -> None:
    beats = int(PLAIN | AgentCapabilities.REPORTS_HEARTBEAT)
    server = make_server(heartbeat_s=10.0)
    server.receive(hello(capabilities=beats))
    offered = reply(server).connection_settings
    assert (offered.opamp.heartbeat_interval_seconds, len(offered.hash)) == (10, 32)
    assert not reply(server).HasField("connection_settings")
    assert server.beats
    server.line_opened()
    assert reply(server).HasField("connection_settings")


@pytest.mark.opamp("I-07")
@pytest.mark.parametrize(
    "capabilities",
    [
        PLAIN,
        PLAIN
        | AgentCapabilities.REPORTS_HEARTBEAT
        | AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS,
    ],
)
def test_it_is_not_offered_to_agents_that_do_not_beat_or_would_change_their_connection(
    capabilities: AgentCapabilities,
) -> None:
    server = make_server(heartbeat_s=10.0)
    server.receive(hello(capabilities=int(capabilities)))
    assert not reply(server).HasField("connection_settings")
    assert not server.beats


@pytest.mark.opamp("J-02")
def test_custom_messages_go_one_by_one_to_agents_that_announced_them() -> None:
    server = known()
    with pytest.raises(LocalProtocolError):
        server.send_custom("com.example", "t", b"")
    announced = opamp_pb2.CustomCapabilities(capabilities=["com.example"])
    server.receive(message(1, custom_capabilities=announced))
    server.send_custom("com.example", "t", b"1")
    server.send_custom("com.example", "t", b"2")
    assert server.has_news()
    assert [reply(server).custom_message.data for _ in range(3)] == [b"1", b"2", b""]


@pytest.mark.opamp("J-01")
def test_the_servers_custom_capabilities_are_told_once_a_line_and_when_they_change() -> None:
    server = make_server(custom_capabilities=frozenset({"com.example"}))
    server.receive(hello())
    assert reply(server).custom_capabilities.capabilities == ["com.example"]
    assert not reply(server).HasField("custom_capabilities")
    server.announce(frozenset({"com.example"}))
    assert not server.has_news()
    server.announce(frozenset())
    assert server.has_news()
    told = reply(server)
    assert told.HasField("custom_capabilities")
    assert told.custom_capabilities.capabilities == []
    assert not reply(server).HasField("custom_capabilities")


# -------------------------------------------------------------------------- commands and wishes


@pytest.mark.opamp("V-01")
def test_a_restart_is_a_message_of_its_own_and_the_rest_follows() -> None:
    server = known(capabilities=int(PLAIN | AgentCapabilities.ACCEPTS_RESTART_COMMAND))
    server.offer_config(FILES, b"one")
    server.restart()
    assert server.has_news()
    first, second = reply(server), reply(server)
    assert fields(first) == {"instance_uid", "capabilities", "command"}
    assert fields(second) == {"instance_uid", "capabilities", "remote_config"}
    assert not server.has_news()


@pytest.mark.opamp("V-03")
def test_an_agent_that_does_not_accept_a_restart_is_not_commanded() -> None:
    with pytest.raises(LocalProtocolError):
        known().restart()


def test_a_full_report_may_be_asked_for_at_any_time() -> None:
    server = known()
    server.ask_for_everything()
    assert server.has_news()
    assert reply(server).flags == FULL
    assert not server.has_news()
    server.receive(hello(1))
    assert reply(server, 100.0).flags == 0


@pytest.mark.opamp("P-05")
def test_capabilities_that_change_change_what_is_offered() -> None:
    server = known(capabilities=1)
    server.offer_config(FILES, b"one")
    assert not reply(server).HasField("remote_config")
    server.receive(message(1, capabilities=int(PLAIN)))
    assert reply(server).HasField("remote_config")
    server.offer_config(FILES, b"two")
    server.receive(message(2, capabilities=1))
    assert not reply(server, 100.0).HasField("remote_config")


@pytest.mark.opamp("I-06")
def test_another_interval_of_heartbeats_is_told_at_once() -> None:
    server = make_server(heartbeat_s=10.0)
    server.receive(hello(capabilities=int(PLAIN | AgentCapabilities.REPORTS_HEARTBEAT)))
    reply(server)
    server.beat_every(5.0)
    assert server.has_news()
    assert reply(server).connection_settings.opamp.heartbeat_interval_seconds == 5
    assert not server.has_news()
    server.beat_every(None)
    assert not reply(server).HasField("connection_settings")


# ------------------------------------------------------------------------------ connection settings

TAKES_ALL = (
    AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS
    | AgentCapabilities.REPORTS_OWN_METRICS
    | AgentCapabilities.REPORTS_CONNECTION_SETTINGS_STATUS
)
OFFER = ConnectionOffer(
    b"c1",
    opamp=ConnectionSettings("wss://b/v1/opamp", {"Authorization": "Bearer new"}, heartbeat_s=30),
    own_metrics=ConnectionSettings("https://m:4318/v1/metrics"),
)


def outcome(settings_hash: bytes, state: str = "APPLIED") -> opamp_pb2.ConnectionSettingsStatus:
    return opamp_pb2.ConnectionSettingsStatus(
        last_connection_settings_hash=settings_hash,
        status=f"ConnectionSettingsStatuses_{state}",
    )


@pytest.mark.opamp("K-15")
@pytest.mark.parametrize("state", ["APPLIED", "APPLYING", "FAILED"])
def test_connections_are_offered_until_their_hash_comes_back_whatever_became_of_them(
    state: str,
) -> None:
    server = known(capabilities=int(TAKES_ALL), connection_settings_status=outcome(b"c0", "FAILED"))
    server.offer_connections(OFFER)
    assert server.has_news()
    offered = reply(server, 0.0).connection_settings
    assert offered.hash == b"c1"
    assert offered.opamp.destination_endpoint == "wss://b/v1/opamp"
    assert offered.opamp.headers.headers[0].value == "Bearer new"
    assert not server.has_news()
    assert not reply(server, 1.0).HasField("connection_settings")
    assert reply(server, 1.0 + REPEAT_S).HasField("connection_settings")
    server.receive(message(1, capabilities=0, connection_settings_status=outcome(b"c1", state)))
    assert not reply(server, 100.0).HasField("connection_settings")
    assert server.state.connection_status == ConnectionStatus(b"c1", ConfigState[state])


@pytest.mark.opamp("O-01", "K-01", "X-01")
def test_only_the_parts_that_an_agent_can_take_are_offered() -> None:
    server = known(capabilities=int(PLAIN | AgentCapabilities.REPORTS_OWN_METRICS))
    server.offer_connections(OFFER)
    offered = reply(server).connection_settings
    assert (offered.HasField("opamp"), offered.HasField("own_metrics")) == (False, True)
    nobody = known()
    nobody.offer_connections(OFFER)
    assert not nobody.has_news()
    assert not reply(nobody).HasField("connection_settings")


def test_an_offer_of_connections_needs_a_hash() -> None:
    with pytest.raises(LocalProtocolError, match="hash"):
        known().offer_connections(ConnectionOffer(b""))


@pytest.mark.opamp("K-03")
@pytest.mark.parametrize("url", ["", "b:4320", "ftp://b/v1/opamp", "wss://", "wss:///v1/opamp"])
def test_an_opamp_connection_that_is_offered_has_a_url_of_one_of_the_transports(url: str) -> None:
    with pytest.raises(LocalProtocolError, match="an OpAMP connection") as caught:
        known().offer_connections(ConnectionOffer(b"c", opamp=ConnectionSettings(url)))
    assert not url or url not in str(caught.value)


def own(name: str, url: str) -> ConnectionOffer:
    parts: dict[str, Any] = {name: ConnectionSettings(url)}
    return ConnectionOffer(b"c", **parts)


@pytest.mark.opamp("O-02")
@pytest.mark.parametrize("name", ["own_metrics", "own_traces", "own_logs"])
@pytest.mark.parametrize("url", ["m:4318", "https://m:4318", "https://m/", "ws://m/v1/traces"])
def test_own_telemetry_that_is_offered_has_the_full_url_of_its_signal(name: str, url: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{name} needs the full"):
        known().offer_connections(own(name, url))
    known().offer_connections(own(name, ""))


@pytest.mark.opamp("S-09")
def test_a_proxy_that_is_offered_has_an_address() -> None:
    own = ConnectionSettings("https://m/v1/metrics", proxy=ProxySettings())
    with pytest.raises(LocalProtocolError, match="proxy"):
        known().offer_connections(ConnectionOffer(b"c", own_metrics=own))


def test_connections_that_are_not_wanted_any_more_are_not_offered() -> None:
    server = known(capabilities=int(TAKES_ALL))
    server.offer_connections(OFFER)
    server.clear_connections()
    assert not server.has_news()
    assert not reply(server).HasField("connection_settings")


@pytest.mark.opamp("Z-14")
@pytest.mark.parametrize("asked", [{}, {"opamp": {"certificate_request": {"csr": b"-----BEGIN"}}}])
def test_what_this_server_does_not_do_yet_is_passed_over_and_answered(asked: Any) -> None:
    server = known()
    packages = {"packages": {"a": {"name": "a"}}, "server_provided_all_packages_hash": b"h"}
    request = message(
        1, capabilities=0, package_statuses=packages, connection_settings_request=asked
    )
    assert server.receive(request) == ()
    answer = reply(server)
    assert not answer.HasField("error_response")
    assert not answer.HasField("connection_settings")
    assert not answer.HasField("packages_available")


@pytest.mark.opamp("L-06", "L-12")
def test_what_does_not_fit_one_message_has_the_next_one() -> None:
    capabilities = int(MANAGED | TAKES_ALL)
    server = known(make_server(max_message_bytes=6000), capabilities=capabilities)
    server.receive(message(1, capabilities=0, custom_capabilities={"capabilities": ["c"]}))
    server.reply(0.0)
    server.offer_config({"a": ConfigFile(b"x" * 4000)}, b"one")
    big = ConnectionSettings("https://m/v1/metrics", {"X": "y" * 4000})
    server.offer_connections(ConnectionOffer(b"c1", own_metrics=big))
    server.send_custom("c", "t", b"z" * 4000)
    said = []
    while server.has_news():
        data = server.reply(0.0)
        assert len(data) < 6000
        said.append(fields(opamp_pb2.ServerToAgent.FromString(data)) - {"instance_uid"})
    assert [names - {"capabilities"} for names in said] == [
        {"remote_config"},
        {"connection_settings"},
        {"custom_message"},
    ]


@pytest.mark.opamp("P-09")
def test_bits_that_nobody_has_defined_are_not_said() -> None:
    server = make_server(ServerCapabilities(0xFFFFF))
    server.receive(hello())
    assert reply(server).capabilities == 0x7F


# ------------------------------------------------------------------------------------ idle agents


def test_an_idle_agents_beat_changes_its_number_and_nothing_else() -> None:
    server = known()
    assert server.hears_beat(message(1))
    assert server.state.sequence_num == 1
    assert server.receive(message(1)) == ()  # a repeat of it
    assert reply(server) == reply(server)
    assert server.receive(message(2)) == ()
    assert server.state.sequence_num == 2


@pytest.mark.parametrize(
    "said",
    [
        {"number": 2},
        {"number": 1, "flags": 1},
        {"number": 1, "capabilities": 1},
        {"number": 1, "capabilities": 0},
        {"number": 1, "instance_uid": b"o" * 16},
        {"number": 1, "agent_disconnect": opamp_pb2.AgentDisconnect()},
        {"number": 1, "health": opamp_pb2.ComponentHealth()},
    ],
)
def test_a_message_that_says_more_is_no_beat(said: dict[str, Any]) -> None:
    server = known()
    assert not server.hears_beat(message(**said))
    assert server.state.sequence_num == 0


def test_an_agent_that_left_is_back_with_its_next_beat() -> None:
    server = known()
    server.line_closed("gone")
    assert kinds(server.receive(message(1))) == [AgentConnected]


def test_what_an_idle_agent_is_told_follows_what_is_wanted_of_it() -> None:
    server = known()
    idle = server.reply(0.0)
    assert server.reply(1.0) == idle
    server.offer_config(FILES, b"one")
    assert server.reply(2.0) != idle
    server.clear_offer()
    assert server.reply(3.0) == idle
    server.receive(message(1, instance_uid=b"o" * 16))
    assert server.reply(4.0) != idle


def test_agents_that_report_and_are_offered_the_same_share_it() -> None:
    interned = Interned()
    one, two = (known(make_server(interned=interned), **reported()) for _ in range(2))
    assert one.state.effective_config is two.state.effective_config
    assert one.state.description is not two.state.description


def reported() -> dict[str, Any]:
    config = opamp_pb2.EffectiveConfig()
    config.config_map.config_map["a"].body = b"x" * 4096
    return {"effective_config": config}
