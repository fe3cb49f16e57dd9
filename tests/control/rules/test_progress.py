from __future__ import annotations

from typing import Any

import pytest

from llm_observe.control.rules.model import (
    Acknowledged,
    AckState,
    Desired,
    Presence,
    ProgressState,
    Scope,
    Version,
)
from llm_observe.control.rules.progress import Target, progress
from tests.control.conftest import record

VERSION = Version(2, Scope(), {}, "aa", 100.0)
WANTED = Desired({}, 2, "aa", 100.0)
NEWER = Desired({}, 3, "bb", 200.0)


def target(now: Desired = WANTED, *, said: Acknowledged | None = None, **changes: Any) -> Target:
    return Target(record(acknowledged=said or Acknowledged(), **changes), WANTED, now)


def word(state: AckState, config_hash: str = "aa") -> Acknowledged:
    return Acknowledged(config_hash, state, "x: found 1, expected 2", (), 150.0)


APPLIED, FAILED = word(AckState.APPLIED), word(AckState.FAILED)


@pytest.mark.parametrize(
    ("targets", "state", "agents"),
    [
        ([], "no agents", []),
        ([target()], "pending", ["pending"]),
        ([target(said=word(AckState.APPLYING))], "pending", ["pending"]),
        ([target(said=word(AckState.APPLIED, "00"))], "pending", ["pending"]),
        ([target(said=APPLIED)], "acknowledged", ["acknowledged"]),
        ([target(said=FAILED)], "refused", ["refused"]),
        ([target(said=APPLIED), target()], "pending", ["acknowledged", "pending"]),
        ([target(said=FAILED), target()], "refused", ["refused", "pending"]),
    ],
)
def test_a_version_is_as_far_as_its_agents(
    targets: list[Target], state: str, agents: list[str]
) -> None:
    found = progress(VERSION, targets, {}, superseded=False)
    assert (found.state, [a.state for a in found.agents]) == (state, agents)


@pytest.mark.parametrize(
    ("changes", "state", "agents"),
    [
        ({"presence": Presence.OFFLINE, "since": 101.0}, "pending", ["offline"]),
        ({"presence": Presence.OFFLINE, "since": 99.0}, "no agents", ["offline"]),
        ({"presence": Presence.STOPPED, "since": 101.0}, "no agents", []),
        ({"presence": Presence.OFFLINE, "said": APPLIED}, "acknowledged", ["acknowledged"]),
        ({"presence": Presence.STOPPED, "said": APPLIED}, "acknowledged", ["acknowledged"]),
    ],
)
def test_who_went_silent_after_the_version_was_made_keeps_it_pending(
    changes: dict[str, Any], state: str, agents: list[str]
) -> None:
    found = progress(VERSION, [target(**changes)], {}, superseded=False)
    assert (found.state, [a.state for a in found.agents]) == (state, agents)


def test_a_replaced_version_remembers_what_was_said_about_it() -> None:
    said = {("u", "aa"): APPLIED}
    found = progress(VERSION, [target(NEWER)], said, superseded=True)
    assert found.state is ProgressState.ACKNOWLEDGED


def test_a_replaced_version_that_nobody_answered_says_so() -> None:
    found = progress(VERSION, [target(NEWER)], {}, superseded=True)
    assert found.state is ProgressState.SUPERSEDED
    assert "replaced by version 3" in found.agents[0].error


def test_an_agent_that_came_after_the_replacement_has_no_part_in_it() -> None:
    found = progress(VERSION, [target(NEWER, first_seen=300.0)], {}, superseded=True)
    assert found.agents == []


def test_what_is_wanted_again_counts_the_present_word() -> None:
    found = progress(VERSION, [target(said=APPLIED)], {}, superseded=True)
    assert found.state is ProgressState.ACKNOWLEDGED


def test_a_refusal_carries_its_problems() -> None:
    agent = progress(VERSION, [target(said=FAILED)], {}, superseded=False).agents[0]
    assert [p.path for p in agent.problems] == ["x"]
    assert agent.at == 150.0
