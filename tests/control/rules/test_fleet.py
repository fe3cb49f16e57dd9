from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.control.rules import fleet
from llm_observe.control.rules.model import Acknowledged, AckState, HealthView, Presence
from llm_observe.control.rules.record import EVENTS_KEPT, AgentRecord
from llm_observe.opamp import server
from llm_observe.opamp.events import (
    AgentConnected,
    AgentDisconnected,
    Malformed,
    SequenceBroken,
    ServerEvent,
    StatusReported,
)
from llm_observe.opamp.values import (
    AgentDescription,
    AgentState,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    Health,
)
from tests.control.conftest import record


def told(before: AgentRecord, now: float = 9.0, **parts: Any) -> AgentRecord:
    return fleet.fold(before, StatusReported(AgentState(**parts), frozenset(parts)), now)


def said(state: ConfigState, error: str = "", config_hash: bytes = b"\xab") -> ConfigStatus:
    return ConfigStatus(config_hash, state, error)


@pytest.mark.parametrize(
    ("event", "presence"),
    [
        (AgentConnected(), Presence.CONNECTED),
        (AgentDisconnected(fleet.GOODBYE), Presence.STOPPED),
        (AgentDisconnected("the connection broke"), Presence.OFFLINE),
        (AgentDisconnected("nothing heard for 90 s"), Presence.OFFLINE),
    ],
)
def test_presence_follows_the_line(event: ServerEvent, presence: Presence) -> None:
    after = fleet.fold(record(), event, 5.0)
    assert (after.presence, after.since) == (presence, 5.0)


def test_goodbye_is_what_the_protocol_calls_it() -> None:
    from llm_observe.opamp._pb import opamp_pb2

    protocol = server.ServerProtocol(b"u" * 16, fleet_capabilities())
    message = opamp_pb2.AgentToServer(instance_uid=b"u" * 16)
    message.agent_disconnect.SetInParent()
    reasons = [e.reason for e in protocol.receive(message) if isinstance(e, AgentDisconnected)]
    assert reasons == [fleet.GOODBYE]


def fleet_capabilities() -> Any:
    from llm_observe.opamp.values import ServerCapabilities

    return ServerCapabilities.ACCEPTS_STATUS


def test_a_lost_line_is_not_a_sign_of_life() -> None:
    after = fleet.fold(record(last_seen=3.0), AgentDisconnected("lost"), 50.0)
    assert after.last_seen == 3.0


def test_each_part_is_kept_with_the_time_at_which_it_arrived() -> None:
    after = told(record(), 1.0, description=AgentDescription({"service.name": "a"}, {"k": b"\x01"}))
    after = told(after, 2.0, health=Health(False, last_error="full", start_time_unix_nano=10**9))
    after = told(after, 3.0, effective_config={"x": ConfigFile(b"y", "text/plain")})
    after = told(after, 4.0, config_status=said(ConfigState.APPLIED))
    assert (after.service, after.description.at) == ("a", 1.0)
    assert after.description.non_identifying == {"k": "01"}
    assert after.health == HealthView(False, "", "full", 1.0, 2.0)
    assert after.files_at == 3.0
    assert after.acknowledged == Acknowledged("ab", AckState.APPLIED, "", (), 4.0)
    assert after.last_seen == 4.0


def test_what_is_said_again_keeps_its_first_time() -> None:
    first = told(record(), 4.0, config_status=said(ConfigState.APPLIED))
    again = told(first, 9.0, config_status=said(ConfigState.APPLIED))
    assert again.acknowledged.at == 4.0
    assert again.events == first.events


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (ConfigState.APPLIED, "acknowledged"),
        (ConfigState.APPLYING, "applying"),
        (ConfigState.FAILED, "refused"),
    ],
)
def test_the_word_of_an_agent_is_an_event(state: ConfigState, kind: str) -> None:
    assert told(record(), config_status=said(state, "why")).events[0].kind == kind


def test_problems_are_read_from_the_lines_of_an_error() -> None:
    error = "sampling.ratio: found 1.5, expected a number\nsomething else happened"
    after = told(record(), config_status=said(ConfigState.FAILED, error))
    assert [p.path for p in after.acknowledged.problems] == ["sampling.ratio"]
    assert after.acknowledged.error == error


def test_becoming_unhealthy_and_healthy_again_are_events() -> None:
    after = record()
    for healthy in (True, False, False, True):
        after = told(after, health=Health(healthy, last_error="x"))
    assert [e.kind for e in after.events] == ["healthy", "unhealthy", "healthy"]


def test_secrets_in_the_files_of_others_are_masked_before_they_are_kept() -> None:
    body = b"exporters:\n  otlp:\n    headers:\n      api-key: s3cret\n"
    after = told(record(), effective_config={"": ConfigFile(body, "text/yaml")})
    assert after.files is not None
    assert b"s3cret" not in after.files[""].body
    assert b"***(" in after.files[""].body


def test_components_are_unknown_until_more_than_their_hash_was_told() -> None:
    after = told(record(), components=Components(b"h"))
    assert (after.components, after.components_hash) == (None, "68")
    tree = {"settings": Component({"schema.hash": "abc"})}
    assert told(after, components=Components(b"h", tree)).schema_hash == "abc"


@pytest.mark.parametrize("body", [b"[]", b"nonsense", b"\xff", b"[" * 100_000, b"null"])
def test_an_effective_config_that_is_no_document_is_no_document(body: bytes) -> None:
    after = told(record(), effective_config={"llm-observe": ConfigFile(body)})
    assert after.effective.document is None
    assert after.effective.sources == {}


def test_what_is_offered_is_noted_and_forgotten_with_the_line() -> None:
    after = fleet.offered(record(), "abcdef0123", 7, 2.0)
    assert after.offered == "abcdef0123"
    assert "version 7" in after.events[0].text
    assert fleet.fold(after, AgentConnected(), 3.0).offered == ""


@pytest.mark.parametrize(
    ("presence", "expected"),
    [
        (Presence.CONNECTED, Presence.OFFLINE),
        (Presence.OFFLINE, Presence.OFFLINE),
        (Presence.STOPPED, Presence.STOPPED),
    ],
)
def test_after_a_restart_nobody_is_connected(presence: Presence, expected: Presence) -> None:
    after = fleet.after_restart(record(presence=presence, last_seen=4.0), 9.0)
    assert after.presence is expected
    assert after.last_seen == 4.0


EVENTS = st.one_of(
    st.just(AgentConnected()),
    st.builds(AgentDisconnected, st.sampled_from([fleet.GOODBYE, "lost"])),
    st.builds(Malformed, st.text(max_size=5000)),
    st.builds(SequenceBroken, st.integers(), st.integers()),
    st.builds(
        lambda status: StatusReported(
            AgentState(config_status=status), frozenset({"config_status"})
        ),
        st.builds(
            ConfigStatus, st.binary(max_size=3), st.sampled_from(ConfigState), st.text(max_size=9)
        ),
    ),
)


@given(st.lists(EVENTS, max_size=80))
def test_whatever_happens_a_record_stays_bounded_and_never_invents_effective_settings(
    happened: list[ServerEvent],
) -> None:
    after = record()
    for number, event in enumerate(happened):
        before = after
        after = fleet.fold(before, event, float(number))
        assert after.last_seen >= before.last_seen
    assert len(after.events) <= EVENTS_KEPT
    assert all(len(e.text) <= 1000 for e in after.events)
    assert after.effective.document is None
