from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.errors import LocalProtocolError, MessageTooLarge
from llm_observe.opamp import wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.client import LONGEST_HEARTBEAT_S, MAX_CUSTOM_MESSAGES, ClientProtocol
from llm_observe.opamp.connections import ConnectionSettings
from llm_observe.opamp.events import (
    ClientEvent,
    ConfigOffered,
    ConnectionSettingsOffered,
    CustomCapabilitiesChanged,
    CustomMessageReceived,
    HeartbeatChanged,
    IdentityAssigned,
    Malformed,
    ReportRequested,
    RestartRequested,
    ServerCapabilitiesChanged,
    ServerErrorReceived,
)
from llm_observe.opamp.values import (
    AgentCapabilities,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    ConnectionStatus,
    ErrorKind,
    Health,
    ServerCapabilities,
)
from tests.link import AGENT, DESCRIPTION, HEARTBEAT_S, UID, fields, make_client

OTHER = b"o" * 16
ENVELOPE = {"instance_uid", "sequence_num", "capabilities"}


def said(client: ClientProtocol, now: float = 0.0) -> opamp_pb2.AgentToServer:
    data = client.message_to_send(now)
    assert data is not None
    return wire.decode_agent(data, framed=client.framed)


def hears(client: ClientProtocol, **content: Any) -> tuple[ClientEvent, ...]:
    message = opamp_pb2.ServerToAgent(**{"instance_uid": UID, **content})
    return client.receive(wire.encode(message, framed=client.framed))


def settled(capabilities: AgentCapabilities = AGENT, **options: Any) -> ClientProtocol:
    """A client whose first report was acknowledged."""
    client = make_client(capabilities, **options)
    client.report(description=DESCRIPTION, health=Health())
    client.connected()
    said(client)
    hears(client)
    return client


def offer(config_hash: bytes, body: bytes = b"{}") -> opamp_pb2.AgentRemoteConfig:
    files = {"a": opamp_pb2.AgentConfigObject(body=body, content_type="application/json")}
    config = opamp_pb2.AgentConfigMap(config_map=files)
    return opamp_pb2.AgentRemoteConfig(config=config, config_hash=config_hash)


def beats(seconds: int) -> opamp_pb2.ConnectionSettingsOffers:
    opamp = opamp_pb2.OpAMPConnectionSettings(heartbeat_interval_seconds=seconds)
    return opamp_pb2.ConnectionSettingsOffers(opamp=opamp)


@pytest.mark.opamp("U-01")
@pytest.mark.parametrize("uid", [b"", b"short", b"u" * 17, bytes(16)])
def test_an_instance_uid_is_sixteen_bytes_and_not_zero(uid: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        ClientProtocol(uid, AGENT)


# ----------------------------------------------------------------------------------------- speaking


@pytest.mark.opamp("I-08")
def test_nothing_is_said_before_there_is_a_line() -> None:
    client = make_client()
    client.report(description=DESCRIPTION)
    assert client.message_to_send(0.0) is None
    assert client.next_deadline(0.0) is None


@pytest.mark.opamp("T-05", "P-03")
def test_the_first_message_on_a_line_is_a_report_with_all_there_is() -> None:
    client = make_client()
    client.report(description=DESCRIPTION, health=Health())
    client.connected()
    message = said(client)
    assert fields(message) >= {"agent_description", "health", "remote_config_status"}
    assert message.capabilities == AGENT | AgentCapabilities.REPORTS_STATUS


@pytest.mark.opamp("C-01", "Q-05")
def test_a_report_comes_first_even_if_there_is_nothing_to_report() -> None:
    client = settled()
    client.disconnected()
    client.connected()
    assert fields(said(client)) == ENVELOPE
    assert client.message_to_send(0.0) is None


@pytest.mark.opamp("Q-01")
def test_numbers_step_by_one_whether_or_not_the_message_arrives() -> None:
    client = settled()
    numbers = []
    for text in "abc":
        client.report(health=Health(status=text))
        numbers.append(said(client).sequence_num)
        client.disconnected()
        client.connected()
    assert numbers == [1, 2, 3]


@pytest.mark.opamp("Q-04", "Q-10", "Q-11", "D-04", "E-03", "R-10", "N-06", "B-08")
def test_only_what_changed_is_sent_and_whole() -> None:
    client = settled()
    client.report(health=Health(status="new"), description=DESCRIPTION)
    assert fields(said(client)) == {*ENVELOPE, "health"}


@pytest.mark.opamp("Q-14", "Q-15")
def test_several_changes_become_one_message_with_the_last_of_each() -> None:
    client = settled()
    for text in "abc":
        client.report(health=Health(status=text))
    assert said(client).health.status == "c"
    assert client.message_to_send(0.0) is None


@pytest.mark.opamp("Q-18")
def test_what_was_not_acknowledged_goes_out_again_on_the_next_line() -> None:
    client = settled()
    client.report(health=Health(status="new"))
    said(client)
    client.disconnected()
    client.connected()
    assert said(client).health.status == "new"


@pytest.mark.opamp("P-01", "P-04")
def test_capabilities_are_in_every_message_and_a_change_is_told() -> None:
    client = settled()
    less = AgentCapabilities.REPORTS_STATUS
    client.set_capabilities(less)
    message = said(client)
    assert (fields(message), message.capabilities) == (ENVELOPE, less)
    client.set_capabilities(less)
    assert client.message_to_send(0.0) is None


@pytest.mark.opamp("P-02")
def test_bits_that_nobody_has_defined_are_not_said() -> None:
    client = settled(AgentCapabilities(0xFFFFF))
    client.set_capabilities(AgentCapabilities(0xFFFFE))
    client.connected()
    assert said(client).capabilities == 0xFFFF


def test_packages_are_refused_without_harm() -> None:
    packages = opamp_pb2.PackagesAvailable(all_packages_hash=b"h")
    packages.packages["p"].version = "1"
    client = settled(AGENT | AgentCapabilities.REPORTS_HEALTH)
    assert hears(client, packages_available=packages, flags=1) == (ReportRequested(True, False),)
    assert not said(client).HasField("package_statuses")


@pytest.mark.opamp("P-11", "E-05")
def test_a_part_is_withheld_from_a_server_that_does_not_accept_it() -> None:
    client = settled()
    hears(client, capabilities=int(ServerCapabilities.ACCEPTS_STATUS))
    client.report(effective_config={"a": ConfigFile(b"x")})
    assert client.message_to_send(0.0) is None
    accepts = ServerCapabilities.ACCEPTS_STATUS | ServerCapabilities.ACCEPTS_EFFECTIVE_CONFIG
    hears(client, capabilities=int(accepts))
    assert said(client).HasField("effective_config")


def test_a_wrong_part_changes_nothing() -> None:
    client = settled()
    wrong: dict[str, Any] = {"health": Health(status="new"), "description": object()}
    with pytest.raises(AttributeError):
        client.report(**wrong)
    with pytest.raises(TypeError, match="no such part of the status: mood"):
        client.report(health=Health(status="new"), mood="fine")
    assert client.message_to_send(0.0) is None


@pytest.mark.opamp("L-08", "L-13")
def test_a_part_beyond_the_size_limit_is_refused_and_the_truth_is_kept() -> None:
    client = settled(max_message_bytes=2000)
    with pytest.raises(MessageTooLarge):
        client.report(health=Health(last_error="x" * 2000))
    assert client.message_to_send(0.0) is None


@pytest.mark.opamp("L-08")
def test_parts_that_do_not_fit_one_message_take_two() -> None:
    client = settled(max_message_bytes=2000)
    client.report(health=Health(status="h" * 1500), effective_config={"a": ConfigFile(b"e" * 1500)})
    first, second = said(client), said(client)
    assert (first.HasField("health"), second.HasField("effective_config")) == (True, True)
    assert client.message_to_send(0.0) is None


@pytest.mark.opamp("C-07")
def test_goodbye_is_the_last_message() -> None:
    client = settled()
    client.report(health=Health(status="stopping"))
    client.say_goodbye()
    message = said(client)
    assert fields(message) == {*ENVELOPE, "agent_disconnect", "health"}
    client.report(health=Health(status="late"))
    assert client.message_to_send(0.0) is None
    with pytest.raises(LocalProtocolError):
        client.connected()


@pytest.mark.opamp("H-01")
def test_over_http_there_is_no_header() -> None:
    client = settled(framed=False)
    client.report(health=Health(status="new"))
    data = client.message_to_send(0.0)
    assert data is not None
    assert wire.decode_agent(data, framed=False).health.status == "new"


def test_a_reborn_agent_reports_the_same_truth_under_its_own_uid_and_numbers() -> None:
    client = settled()
    child = client.reborn(OTHER)
    child.connected()
    message = said(child)
    assert (message.instance_uid, message.sequence_num) == (OTHER, 0)
    assert fields(message) >= {"agent_description", "health"}
    assert client.message_to_send(0.0) is None


# --------------------------------------------------------------------------------------- heartbeats


@pytest.mark.opamp("W-08", "I-03", "I-05")
def test_a_heartbeat_is_due_after_the_last_message_of_any_kind() -> None:
    client = settled()
    client.report(health=Health(status="new"))
    said(client, now=20.0)
    assert client.next_deadline(21.0) == 20.0 + HEARTBEAT_S
    assert client.message_to_send(49.9) is None
    assert fields(said(client, now=50.0)) == ENVELOPE


def test_something_to_say_is_due_now() -> None:
    client = settled()
    client.report(health=Health(status="new"))
    assert client.next_deadline(7.0) == 7.0


def test_an_agent_without_the_capability_does_not_beat() -> None:
    client = settled(AgentCapabilities.REPORTS_HEALTH)
    assert client.next_deadline(0.0) is None
    assert client.message_to_send(1e9) is None


@pytest.mark.opamp("I-01")
def test_an_offered_interval_is_obeyed_even_without_accepting_connection_settings() -> None:
    client = settled()
    assert hears(client, connection_settings=beats(5)) == (HeartbeatChanged(5.0),)
    assert client.next_deadline(0.0) == 5.0
    assert hears(client, connection_settings=beats(5)) == ()


@pytest.mark.opamp("I-02")
def test_an_offered_interval_of_zero_ends_heartbeats_and_no_block_changes_nothing() -> None:
    client = settled()
    assert hears(client, connection_settings=opamp_pb2.ConnectionSettingsOffers()) == ()
    assert client.next_deadline(0.0) == HEARTBEAT_S
    assert hears(client, connection_settings=beats(0)) == (HeartbeatChanged(0.0),)
    assert client.next_deadline(0.0) is None


def test_an_absurd_interval_is_a_day() -> None:
    client = settled()
    assert hears(client, connection_settings=beats(2**64 - 1)) == (
        HeartbeatChanged(LONGEST_HEARTBEAT_S),
    )


# ----------------------------------------------------------------------------------------- hearing


@pytest.mark.opamp("Q-12", "B-03", "B-09")
def test_a_full_report_is_sent_when_asked_for_with_components_by_hash() -> None:
    client = settled()
    client.report(components=Components(b"h", {"a": Component()}))
    said(client)
    hears(client)
    assert hears(client, flags=1) == (ReportRequested(full_state=True, components=False),)
    message = said(client)
    assert fields(message) >= {"agent_description", "health", "available_components"}
    assert message.available_components.hash == b"h"
    assert not message.available_components.components


@pytest.mark.opamp("B-03", "B-05")
def test_the_list_of_components_is_sent_when_asked_for() -> None:
    client = settled()
    client.report(components=Components(b"h", {"a": Component()}))
    said(client)
    assert hears(client, flags=2) == (ReportRequested(full_state=False, components=True),)
    message = said(client)
    assert fields(message) == {*ENVELOPE, "available_components"}
    assert message.available_components.hash == b"h"
    assert list(message.available_components.components) == ["a"]


@pytest.mark.opamp("Q-13", "R-12")
def test_an_offer_is_reported_once_until_another_one_comes() -> None:
    client = settled()
    expected = ConfigOffered({"a": ConfigFile(b"{}", "application/json")}, b"one")
    assert hears(client, remote_config=offer(b"one")) == (expected,)
    assert hears(client, remote_config=offer(b"one")) == ()
    assert [type(e) for e in hears(client, remote_config=offer(b"two"))] == [ConfigOffered]
    assert hears(client, remote_config=offer(b"one")) == (expected,)


@pytest.mark.parametrize("state", [ConfigState.APPLIED, ConfigState.FAILED, ConfigState.APPLYING])
def test_an_offer_with_the_hash_of_the_reported_status_is_no_news(state: ConfigState) -> None:
    client = settled()
    client.report(config_status=ConfigStatus(b"one", state))
    assert hears(client, remote_config=offer(b"one")) == ()


@pytest.mark.opamp("M-07")
def test_an_offer_of_nothing_is_an_offer() -> None:
    empty = opamp_pb2.AgentRemoteConfig(config=opamp_pb2.AgentConfigMap(), config_hash=b"h")
    assert hears(settled(), remote_config=empty) == (ConfigOffered({}, b"h"),)
    unset = opamp_pb2.AgentRemoteConfig(config_hash=b"h")
    assert hears(settled(), remote_config=unset) == ()


@pytest.mark.opamp("R-03")
def test_an_offer_without_a_hash_is_malformed() -> None:
    (event,) = hears(settled(), remote_config=offer(b""))
    assert isinstance(event, Malformed)


@pytest.mark.opamp("P-06", "V-03")
def test_offers_and_commands_are_ignored_without_the_capability() -> None:
    client = settled(AgentCapabilities.REPORTS_HEALTH)
    command = opamp_pb2.ServerToAgentCommand()
    assert hears(client, remote_config=offer(b"one"), command=command) == ()
    assert hears(client, connection_settings=beats(5)) == ()


@pytest.mark.opamp("V-02")
def test_a_command_makes_the_agent_ignore_all_else() -> None:
    client = settled(AGENT | AgentCapabilities.ACCEPTS_RESTART_COMMAND)
    command = opamp_pb2.ServerToAgentCommand()
    assert hears(client, command=command, remote_config=offer(b"one")) == (RestartRequested(),)


@pytest.mark.opamp("V-04")
def test_an_unknown_command_is_refused() -> None:
    client = settled(AGENT | AgentCapabilities.ACCEPTS_RESTART_COMMAND)
    command = opamp_pb2.ServerToAgentCommand.FromString(b"\x08\x07")
    assert hears(client, command=command) == (Malformed("unknown command 7"),)


@pytest.mark.opamp("F-05")
def test_an_error_response_excludes_all_else() -> None:
    client = settled()
    error = opamp_pb2.ServerErrorResponse(error_message="no")
    events = hears(client, error_response=error, remote_config=offer(b"one"), flags=1)
    assert events == (ServerErrorReceived(ErrorKind.UNKNOWN, "no"),)


@pytest.mark.opamp("F-02", "F-03")
@pytest.mark.parametrize("kind", [ErrorKind.UNKNOWN, ErrorKind.BAD_REQUEST])
def test_what_was_refused_is_not_sent_again(kind: ErrorKind) -> None:
    client = settled()
    client.report(health=Health(status="new"))
    said(client)
    name = opamp_pb2.ServerErrorResponseType.Name(kind)
    hears(client, error_response=opamp_pb2.ServerErrorResponse(type=name))
    client.disconnected()
    client.connected()
    assert fields(said(client)) == ENVELOPE


@pytest.mark.opamp("Q-17")
def test_what_the_server_had_no_time_for_is_sent_again() -> None:
    client = settled()
    client.report(health=Health(status="new"))
    said(client)
    retry = opamp_pb2.RetryInfo(retry_after_nanoseconds=1_500_000_000)
    error = opamp_pb2.ServerErrorResponse(type="ServerErrorResponseType_Unavailable")
    error.retry_info.CopyFrom(retry)
    (event,) = hears(client, error_response=error)
    assert event == ServerErrorReceived(ErrorKind.UNAVAILABLE, "", 1.5)
    client.disconnected()
    client.connected()
    assert said(client).health.status == "new"


@pytest.mark.opamp("P-08")
def test_server_capabilities_are_told_on_change_and_zero_means_as_before() -> None:
    client = settled()
    told = hears(client, capabilities=3 | 1 << 30)
    assert told == (ServerCapabilitiesChanged(ServerCapabilities(3)),)
    assert hears(client) == ()
    assert client.server_capabilities == 3


@pytest.mark.opamp("U-10")
def test_a_message_for_another_instance_is_ignored() -> None:
    client = settled()
    client.report(health=Health(status="new"))
    said(client)
    (event,) = hears(client, instance_uid=OTHER, remote_config=offer(b"one"))
    assert isinstance(event, Malformed)
    client.disconnected()  # and acknowledges nothing
    client.connected()
    assert said(client).HasField("health")


def test_a_message_without_uid_is_taken_as_ours() -> None:
    assert hears(settled(), instance_uid=b"", flags=1) == (ReportRequested(True, False),)


@pytest.mark.opamp("U-04", "U-06", "U-11")
def test_a_new_uid_is_used_from_then_on_and_everything_is_reported_under_it() -> None:
    client = settled(request_uid=True)
    client.report(health=Health(status="x"))
    assert said(client).flags == 1
    identity = opamp_pb2.AgentIdentification(new_instance_uid=OTHER)
    assert hears(client, agent_identification=identity) == (IdentityAssigned(OTHER),)
    message = said(client)
    assert (message.instance_uid, message.flags) == (OTHER, 0)
    assert message.HasField("agent_description")
    # answers to the former uid are still under way
    assert hears(client, agent_identification=identity, flags=1)[0] == ReportRequested(True, False)
    assert hears(client, instance_uid=OTHER) == ()
    assert isinstance(hears(client)[0], Malformed)


@pytest.mark.opamp("U-08")
def test_a_new_uid_of_another_length_is_refused() -> None:
    client = settled()
    identity = opamp_pb2.AgentIdentification(new_instance_uid=b"short")
    (event,) = hears(client, agent_identification=identity)
    assert isinstance(event, Malformed)
    assert client.instance_uid == UID


@given(st.binary(max_size=100))
@settings(max_examples=50, deadline=None)
def test_no_bytes_make_receiving_raise(data: bytes) -> None:
    client = settled()
    client.receive(data)
    client.receive(b"\x00" + data)


@pytest.mark.opamp("L-04")
def test_a_message_over_the_limit_is_malformed() -> None:
    client = settled(max_message_bytes=1000)
    (event,) = hears(client, remote_config=offer(b"one", body=b"x" * 1000))
    assert isinstance(event, Malformed)
    assert "limit of 1000" in event.reason


# ------------------------------------------------------------------------------- custom messages


def announced(client: ClientProtocol) -> ClientProtocol:
    capabilities = opamp_pb2.CustomCapabilities(capabilities=["com.example"])
    told = hears(client, custom_capabilities=capabilities)
    assert told == (CustomCapabilitiesChanged(frozenset({"com.example"})),)
    assert hears(client, custom_capabilities=capabilities) == ()
    return client


@pytest.mark.opamp("J-06")
def test_custom_messages_are_not_merged_and_keep_their_order() -> None:
    client = announced(settled())
    for number in range(3):
        client.send_custom("com.example", "count", bytes([number]))
    assert [said(client).custom_message.data for _ in range(3)] == [b"\0", b"\1", b"\2"]


def test_custom_messages_lost_with_their_line_are_sent_again_in_order() -> None:
    client = announced(settled())
    for number in range(3):
        client.send_custom("com.example", "count", bytes([number]))
    said(client), said(client)
    client.disconnected()
    client.connected()
    assert [said(client).custom_message.data for _ in range(3)] == [b"\0", b"\1", b"\2"]


@pytest.mark.opamp("J-02")
def test_a_custom_message_the_server_has_no_use_for_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="does not support"):
        settled().send_custom("com.example", "t", b"")


@pytest.mark.opamp("J-06")
def test_the_queue_of_custom_messages_is_bounded() -> None:
    client = announced(settled())
    for _ in range(MAX_CUSTOM_MESSAGES):
        client.send_custom("com.example", "t", b"")
    with pytest.raises(LocalProtocolError, match="already wait"):
        client.send_custom("com.example", "t", b"")


@pytest.mark.opamp("J-04")
def test_a_custom_message_arrives_where_its_capability_was_announced() -> None:
    custom = opamp_pb2.CustomMessage(capability="com.example", type="t", data=b"d")
    client = settled()
    assert hears(client, custom_message=custom) == ()
    client.report(custom_capabilities=frozenset({"com.example"}))
    assert said(client).custom_capabilities.capabilities == ["com.example"]
    assert hears(client, custom_message=custom) == (
        CustomMessageReceived("com.example", "t", b"d"),
    )


def test_a_custom_message_over_the_limit_is_refused() -> None:
    client = announced(settled(max_message_bytes=3000))
    with pytest.raises(MessageTooLarge):
        client.send_custom("com.example", "t", b"x" * 3000)
    client.send_custom("com.example", "t", b"x" * 1500)
    assert len(said(client).custom_message.data) == 1500


# -------------------------------------------------------------------------------- the line's end


def test_leaving_a_line_is_the_last_message_of_that_line_only() -> None:
    client = settled()
    client.report(health=Health(status="new"))
    client.leave_line()
    assert fields(said(client)) == {*ENVELOPE, "agent_disconnect", "health"}
    assert not client.on_line
    assert client.message_to_send(100.0) is None
    client.disconnected()
    client.connected()
    assert fields(said(client)) == {*ENVELOPE, "health"}


def test_without_a_line_there_is_nothing_to_leave() -> None:
    client = make_client()
    client.leave_line()
    client.connected()
    assert not said(client).HasField("agent_disconnect")


def test_a_message_that_never_left_gives_its_number_back() -> None:
    client = settled(framed=False)
    client.report(health=Health(status="old"))
    assert said(client).sequence_num == 1
    client.unsent()
    client.report(health=Health(status="new"))
    client.connected()
    message = said(client)
    assert (message.sequence_num, message.health.status) == (1, "new")
    hears(client)
    client.unsent()  # it was answered: the number is used
    client.connected()
    assert said(client).sequence_num == 2


def test_a_message_that_was_refused_is_not_said_again() -> None:
    client = settled(framed=False)
    client.report(health=Health(status="too much"))
    said(client)
    client.refused()
    client.disconnected()
    client.connected()
    assert fields(said(client)) == ENVELOPE


def test_the_kind_of_line_may_change_during_the_conversation() -> None:
    client = settled()
    client.disconnected()
    client.connected(framed=False)
    data = client.message_to_send(0.0)
    assert data is not None
    assert wire.decode_agent(data, framed=False).sequence_num == 1


@pytest.mark.opamp("H-04")
def test_over_http_polling_takes_no_capability_and_does_not_end() -> None:
    client = settled(AgentCapabilities.REPORTS_HEALTH, framed=False)
    assert client.next_deadline(1.0) == HEARTBEAT_S
    assert hears(client, connection_settings=beats(0)) == ()
    assert hears(client, connection_settings=beats(7)) == (HeartbeatChanged(7.0),)
    assert client.interval_s == 7.0
    silent = settled(framed=False)
    silent.heartbeat_s = 0.0
    assert silent.interval_s > 0


# --------------------------------------------------------------------------- capabilities change


def test_a_part_that_a_new_capability_allows_is_sent_with_it() -> None:
    client = settled(AgentCapabilities.REPORTS_HEALTH)
    client.report(effective_config={"a": ConfigFile(b"x")})
    assert client.message_to_send(0.0) is None
    client.set_capabilities(client.capabilities | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG)
    message = said(client)
    assert message.HasField("effective_config")
    assert message.capabilities & AgentCapabilities.REPORTS_EFFECTIVE_CONFIG


def test_a_capability_that_was_given_up_takes_its_offers_with_it() -> None:
    client = settled()
    client.set_capabilities(AgentCapabilities.REPORTS_HEALTH)
    assert hears(client, remote_config=offer(b"one")) == ()
    client.set_capabilities(AGENT)
    assert [type(e) for e in hears(client, remote_config=offer(b"one"))] == [ConfigOffered]


# ----------------------------------------------------------------------------- connection settings


def connections(**parts: Any) -> opamp_pb2.ConnectionSettingsOffers:
    return opamp_pb2.ConnectionSettingsOffers(**{"hash": b"c1", **parts})


METRICS = opamp_pb2.TelemetryConnectionSettings(destination_endpoint="https://m:4318/v1/metrics")
MOVED = opamp_pb2.OpAMPConnectionSettings(
    destination_endpoint="wss://b:4320/v1/opamp", heartbeat_interval_seconds=int(HEARTBEAT_S)
)
OWN = AGENT | AgentCapabilities.REPORTS_OWN_METRICS
STATUS = AgentCapabilities.REPORTS_CONNECTION_SETTINGS_STATUS


@pytest.mark.opamp("O-05", "K-13")
def test_connection_settings_are_told_once_and_only_the_parts_the_agent_has_a_use_for() -> None:
    client = settled(OWN | STATUS)
    offered = connections(own_metrics=METRICS, opamp=MOVED, own_traces=METRICS)
    (event,) = hears(client, connection_settings=offered)
    assert isinstance(event, ConnectionSettingsOffered)
    assert event.offer.opamp is None
    assert event.offer.own_traces is None
    assert event.offer.own_metrics == ConnectionSettings("https://m:4318/v1/metrics")
    assert event.left_out == {"opamp", "own_traces"}
    assert hears(client, connection_settings=offered) == ()
    client.report(connection_status=ConnectionStatus(b"c1", ConfigState.APPLIED))
    assert said(client).connection_settings_status.last_connection_settings_hash == b"c1"


@pytest.mark.opamp("K-19")
def test_connection_settings_that_were_reported_are_no_news_after_a_restart() -> None:
    client = make_client(OWN | STATUS)
    client.report(connection_status=ConnectionStatus(b"c1", ConfigState.FAILED, "no"))
    client.connected()
    said(client)
    assert hears(client, connection_settings=connections(own_metrics=METRICS)) == ()


def test_connection_settings_nobody_has_a_use_for_are_ignored() -> None:
    offered = connections(own_metrics=METRICS, opamp=MOVED)
    assert hears(settled(), connection_settings=offered) == ()


def test_an_agent_that_says_what_becomes_of_offers_hears_of_those_it_has_no_use_for() -> None:
    client = settled(STATUS | AgentCapabilities.REPORTS_HEARTBEAT)
    (event,) = hears(client, connection_settings=connections(own_metrics=METRICS, opamp=MOVED))
    assert isinstance(event, ConnectionSettingsOffered)
    assert event.offer.own_metrics is None
    assert event.left_out == {"opamp", "own_metrics"}
    beat = connections(hash=b"c2", opamp=beats(7).opamp)
    assert hears(client, connection_settings=beat) == (HeartbeatChanged(7.0),)


def test_connection_settings_without_a_hash_are_malformed() -> None:
    (event,) = hears(settled(OWN), connection_settings=connections(hash=b"", own_metrics=METRICS))
    assert isinstance(event, Malformed)
