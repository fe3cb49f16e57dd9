from __future__ import annotations

import dataclasses

import pytest

from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.parts import BY_NAME, COMPONENT_MAP, COMPONENTS, PARTS, Outbox, is_complete
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentState,
    Component,
    Components,
    Health,
    ServerCapabilities,
)

ALL = AgentCapabilities.from_wire(0xFFFF)
UNKNOWN = ServerCapabilities(0)
LIMIT = 10_000


def filled(outbox: Outbox, items: list[str], limit: int = LIMIT) -> opamp_pb2.AgentToServer:
    message = opamp_pb2.AgentToServer()
    outbox.fill(message, items, limit)
    return message


def outbox_with_health() -> Outbox:
    outbox = Outbox()
    assert outbox.report("health", BY_NAME["health"].to_pb(Health()))
    return outbox


def test_the_table_names_fields_that_exist_on_both_sides() -> None:
    state = {field.name for field in dataclasses.fields(AgentState)}
    wire = {field.name for field in opamp_pb2.AgentToServer.DESCRIPTOR.fields}
    assert {part.name for part in PARTS} == state - {"capabilities", "sequence_num"}
    assert {part.field for part in PARTS} <= wire


@pytest.mark.opamp("K-16")
def test_what_was_sent_is_due_again_only_if_it_was_lost() -> None:
    outbox = outbox_with_health()
    filled(outbox, outbox.due(ALL, UNKNOWN))
    assert outbox.due(ALL, UNKNOWN) == []
    outbox.lost()
    assert outbox.due(ALL, UNKNOWN) == ["health"]
    filled(outbox, ["health"])
    outbox.acknowledged()
    outbox.lost()
    assert outbox.due(ALL, UNKNOWN) == []


def test_a_change_while_a_part_is_in_flight_is_due() -> None:
    outbox = outbox_with_health()
    filled(outbox, ["health"])
    assert outbox.report("health", BY_NAME["health"].to_pb(Health(healthy=False)))
    outbox.acknowledged()
    assert outbox.due(ALL, UNKNOWN) == ["health"]


@pytest.mark.opamp("P-12", "R-14", "N-07", "B-01")
def test_a_part_waits_for_the_capabilities_it_takes() -> None:
    outbox = Outbox()
    outbox.report("effective_config", BY_NAME["effective_config"].to_pb({}))
    accepts = ServerCapabilities.ACCEPTS_EFFECTIVE_CONFIG
    reports = AgentCapabilities.REPORTS_EFFECTIVE_CONFIG
    assert outbox.due(AgentCapabilities.REPORTS_STATUS, accepts) == []
    assert outbox.due(reports, ServerCapabilities.ACCEPTS_STATUS) == []
    assert outbox.due(reports, accepts) == ["effective_config"]
    assert outbox.due(reports, UNKNOWN) == ["effective_config"]


def test_an_empty_part_is_present_on_the_wire() -> None:
    outbox = Outbox()
    outbox.report("effective_config", BY_NAME["effective_config"].to_pb({}))
    assert filled(outbox, ["effective_config"]).HasField("effective_config")


@pytest.mark.opamp("B-02")
def test_components_go_by_their_hash_until_the_list_is_asked_for() -> None:
    outbox = Outbox()
    outbox.component_map()  # nothing was reported yet
    assert outbox.due(ALL, UNKNOWN) == []
    value = Components(b"h", {"a": Component()})
    outbox.report(COMPONENTS, BY_NAME[COMPONENTS].to_pb(value))
    hashed = filled(outbox, outbox.due(ALL, UNKNOWN)).available_components
    assert (hashed.hash, dict(hashed.components)) == (b"h", {})
    outbox.component_map()
    outbox.everything()
    assert outbox.due(ALL, UNKNOWN) == [COMPONENT_MAP, COMPONENTS]
    whole = filled(outbox, outbox.due(ALL, UNKNOWN)).available_components
    assert (whole.hash, list(whole.components)) == (b"h", ["a"])


def test_parts_beyond_the_limit_wait_for_the_next_message() -> None:
    outbox = outbox_with_health()
    big = Health(last_error="x" * 600, healthy=False)
    outbox.report("health", BY_NAME["health"].to_pb(big))
    status = BY_NAME["effective_config"].to_pb({})
    outbox.report("effective_config", status)
    message = filled(outbox, outbox.due(ALL, UNKNOWN), limit=100)
    assert not message.HasField("health")
    assert message.HasField("effective_config")
    assert outbox.due(ALL, UNKNOWN) == ["health"]


@pytest.mark.opamp("J-07")
def test_a_copy_of_the_truth_is_all_due_and_by_itself() -> None:
    outbox = outbox_with_health()
    filled(outbox, ["health"])
    outbox.acknowledged()
    copy = outbox.copy_truth()
    assert copy.due(ALL, UNKNOWN) == ["health"]
    assert outbox.due(ALL, UNKNOWN) == []


def test_a_message_is_complete_if_it_keeps_the_senders_promises() -> None:
    promises = AgentCapabilities.REPORTS_HEALTH | AgentCapabilities.REPORTS_STATUS
    message = opamp_pb2.AgentToServer(capabilities=int(promises), sequence_num=5)
    message.health.SetInParent()
    assert not is_complete(message)
    message.agent_description.SetInParent()
    assert is_complete(message)
    message.ClearField("health")
    assert not is_complete(message)
    message.sequence_num = 0  # nothing came before it
    assert is_complete(message)
