from __future__ import annotations

from typing import Any

import pytest

from llm_observe.control.rules import plan
from llm_observe.control.rules.model import (
    Acknowledged,
    AckState,
    ComponentView,
    ConfigState,
    Description,
    Presence,
    Scope,
    Version,
)
from llm_observe.control.rules.record import AgentRecord, File
from llm_observe.opamp.values import AgentCapabilities
from llm_observe.settings.documents import document_hash
from tests.control.conftest import OURS, record

SCHEMA = "abc"
HEADS = [Version(3, Scope.of(None), {"sampling": {"ratio": 0.5}}, "", 30.0)]
WANTED = document_hash({"sampling": {"ratio": 0.5}}).hex()


def ours(**changes: Any) -> AgentRecord:
    base: dict[str, Any] = {
        "capabilities": int(OURS),
        "description": Description({"service.name": "chat"}),
        "components": {"settings": ComponentView({"schema.hash": SCHEMA})},
        "components_hash": "01",
    }
    return record(**(base | changes))


def ack(state: AckState, config_hash: str = WANTED) -> Acknowledged:
    return Acknowledged(config_hash, state)


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        (ours(), ""),
        (ours(components=None, files={"llm-observe": File(b"{}")}), ""),
        (ours(capabilities=int(AgentCapabilities.REPORTS_STATUS)), "does not accept"),
        (ours(components=None), "has not told yet"),
        (ours(components=None, files={"": File(b"a: 1")}), "not an llm-observe agent"),
        (ours(components={"receivers": ComponentView()}), "not an llm-observe agent"),
    ],
)
def test_who_is_offered_our_settings_and_why_not(agent: AgentRecord, reason: str) -> None:
    assert (reason in plan.refusal(agent)) if reason else plan.refusal(agent) == ""
    assert bool(plan.offer(agent, plan.desired(agent, HEADS, SCHEMA))) is not bool(reason)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (Acknowledged(), True),
        (ack(AckState.APPLIED), False),
        (ack(AckState.APPLYING), False),
        (ack(AckState.FAILED), False),
        (ack(AckState.APPLIED, "00"), True),
        (ack(AckState.FAILED, "00"), True),
    ],
)
def test_only_the_hash_decides_whether_a_config_is_sent(said: Acknowledged, sent: bool) -> None:
    agent = ours(acknowledged=said)
    assert bool(plan.offer(agent, plan.desired(agent, HEADS, SCHEMA))) is sent


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({"acknowledged": ack(AckState.APPLIED)}, ConfigState.IN_SYNC, "applied"),
        ({"acknowledged": ack(AckState.FAILED)}, ConfigState.REFUSED, "refused"),
        ({"acknowledged": ack(AckState.APPLYING)}, ConfigState.PENDING, "is applying"),
        ({"acknowledged": ack(AckState.NONE)}, ConfigState.PENDING, "has not said"),
        ({"acknowledged": ack(AckState.APPLIED, "00")}, ConfigState.PENDING, "not been sent"),
        ({"offered": WANTED}, ConfigState.PENDING, "has not answered"),
        ({"presence": Presence.OFFLINE}, ConfigState.PENDING, "not connected"),
        (
            {"capabilities": int(OURS & ~AgentCapabilities.REPORTS_REMOTE_CONFIG)},
            ConfigState.PENDING,
            "does not report",
        ),
    ],
)
def test_how_an_agent_stands(changes: dict[str, Any], state: ConfigState, reason: str) -> None:
    agent = ours(**changes)
    found = plan.stand(agent, plan.desired(agent, HEADS, SCHEMA))
    assert (found.state, found.version) == (state, 3)
    assert reason in found.reason


def test_an_agent_for_which_nothing_was_set_is_not_managed_and_left_alone() -> None:
    for agent, reason in (
        (ours(), "its own settings"),
        (ours(acknowledged=ack(AckState.APPLIED, "77")), "from elsewhere"),
    ):
        wanted = plan.desired(agent, [], SCHEMA)
        assert plan.stand(agent, wanted).state is ConfigState.NOT_MANAGED
        assert reason in plan.stand(agent, wanted).reason
        assert plan.offer(agent, wanted) is None


def test_an_agent_of_another_schema_is_told_of_beforehand_and_not_sent_what_it_lacks() -> None:
    heads = [Version(1, Scope.of(None), {"sampling": {"ratio": 0.5, "budget": 3}}, "", 1.0)]
    wanted = plan.desired(ours(), heads, "another")
    assert wanted.document == {"sampling": {"ratio": 0.5}}
    assert wanted.left_out == ("sampling.budget",)
    found = plan.skipped(ours(), ["sampling.budget", "sampling.ratio"], wanted)
    assert found is not None
    assert found.reason == "its release does not know sampling.budget (schema abc)"
    assert plan.skipped(ours(), ["sampling.ratio"], wanted) is None


@pytest.mark.parametrize(
    ("document", "lacking"),
    [
        ({"redaction": {"detectors": {"email": {}, "id-pl": {}}}}, ["redaction.detectors.id-pl"]),
        ({"redaction": {"detectors": {"id-pl": {"enabled": False}}}}, []),
        ({"instrumentation": {"providers": {"replicate": {}}}}, []),
        ({"instrumentation": {"providers": {"a.b": {}}}}, [r"instrumentation.providers.a\.b"]),
        ({"instrumentation": {"others": {"p": {"enabled": True}}}}, ["instrumentation.others.p"]),
        ({"instrumentation": {"others": {"p": {"enabled": False}}}}, []),
        ({"sampling": {"ratio": 1}}, []),
    ],
)
def test_who_lacks_a_detector_or_a_library_will_refuse(
    document: dict[str, Any], lacking: list[str]
) -> None:
    agent = ours(
        components={
            "detectors": ComponentView(components={"email": ComponentView()}),
            "instrumentors": ComponentView(components={"replicate": ComponentView()}),
        }
    )
    said = plan.refusing(agent, document)
    assert (said.reason if said else "").count("not among its") == len(lacking)
    assert all(path in (said.reason if said else "") for path in lacking)
    assert plan.refusing(ours(), document) is None
