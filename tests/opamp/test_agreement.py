"""The three properties that are the protocol, over a line that loses, repeats and restarts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.opamp.events import ConfigOffered
from llm_observe.opamp.values import (
    AgentDescription,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    Health,
)
from tests.link import DESCRIPTION, Link

SMALL = st.integers(0, 2)

REPORTS = st.one_of(
    SMALL.map(lambda n: {"health": Health(healthy=n > 0, last_error=str(n))}),
    SMALL.map(lambda n: {"effective_config": {"a": ConfigFile(bytes([n]), "text/plain")}}),
    SMALL.map(lambda n: {"config_status": ConfigStatus(bytes([n + 1]), ConfigState(n), "")}),
    SMALL.map(lambda n: {"description": AgentDescription({"service.name": str(n)})}),
    SMALL.map(
        lambda n: {"components": Components(bytes([n]), {"c": Component({"version": str(n)})})}
    ),
)

# Losing takes a message under way, so the mishaps come with what leads up to them.
MISHAPS: dict[str, tuple[str, ...]] = {
    "all is delivered": ("settle",),
    "something is said": ("speak",),
    "something is heard": ("speak", "hear"),
    "a message is lost": ("speak", "lose"),
    "an answer is lost": ("speak", "hear", "lose"),
    "a message is lost with its line": ("speak", "connect"),
    "an answer is lost with its line": ("speak", "hear", "connect"),
    "a message comes twice": ("speak", "repeat"),
    "an answer comes twice": ("speak", "hear", "repeat", "answer"),
    "the server restarts": ("restart_server",),
    "time passes": ("wait",),
}

STEPS = st.lists(st.one_of(REPORTS, st.sampled_from(sorted(MISHAPS))), max_size=20)


def step(link: Link, action: object) -> None:
    if isinstance(action, dict):
        link.report(**action)
    else:
        for verb in MISHAPS[str(action)]:
            VERBS[verb](link)


def hear(link: Link) -> None:
    if link.to_server:
        link.server_hears(link.now)


def answer(link: Link) -> None:
    if link.to_agent:
        link.agent_hears()


VERBS: dict[str, Callable[[Link], object]] = {
    "settle": Link.settle,
    "speak": lambda link: link.speak(link.now),
    "hear": hear,
    "answer": answer,
    "lose": Link.lose,
    "repeat": Link.repeat,
    "connect": Link.connect,
    "restart_server": Link.restart_server,
    "wait": Link.wait,
}


def played(steps: list[object]) -> Link:
    link = Link()
    link.report(description=DESCRIPTION, health=Health(), effective_config={})
    link.report(components=Components(b"none", {"a": Component()}))
    link.connect()
    for action in steps:
        step(link, action)
    return link


@pytest.mark.opamp("Q-11", "Q-18")
@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_the_server_sees_the_agents_truth_within_two_quiet_rounds(steps: list[object]) -> None:
    link = played(steps)
    link.quiet_round()
    link.quiet_round()
    assert link.view() == link.truth


@pytest.mark.opamp("Q-01")
@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_numbers_on_the_wire_step_by_one(steps: list[object]) -> None:
    link = played(steps)
    link.quiet_round()
    assert link.numbers == list(range(len(link.numbers)))


@pytest.mark.opamp("Q-09")
@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_there_is_silence_when_nothing_changed(steps: list[object]) -> None:
    link = played(steps)
    for _ in range(3):
        link.quiet_round()
    spoken = len(link.sent)
    link.settle()
    assert len(link.sent) == spoken
    link.report(**link.truth)
    assert link.settle() == ([], [])
    assert len(link.sent) == spoken


@given(STEPS, st.lists(st.sampled_from([b"one", b"two"]), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_an_offer_reaches_an_agent_that_acknowledges_within_two_quiet_rounds(
    steps: list[object], offers: list[bytes]
) -> None:
    link = played(steps)
    for config_hash in offers:
        link.server.offer_config({"a": ConfigFile(config_hash)}, config_hash)
        link.speak(link.now)
    held = b""
    for _ in range(2):
        link.now += 30.0
        for _ in range(20):
            for event in link.settle()[0]:
                if isinstance(event, ConfigOffered):
                    held = event.config_hash
                    link.report(config_status=ConfigStatus(held, ConfigState.APPLIED))
    status = link.server.state.config_status
    assert status is not None
    assert status.hash == offers[-1]
