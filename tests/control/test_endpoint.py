"""Real agents over real sockets: a change goes out, and what the agent says comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llm_observe.control.assembly import ControlPlane
from llm_observe.control.rules.model import AgentDetail, AgentSummary, ConfigState, Edit, Progress
from llm_observe.errors import NotFound
from llm_observe.opamp.values import AgentCapabilities, Component, Components, ConfigFile
from tests.control.conftest import OURS, App, eventually, listening

pytestmark = pytest.mark.anyio


@pytest.fixture
async def url(plane: ControlPlane) -> AsyncIterator[str]:
    async with listening(plane) as address:
        yield address


async def agent_of(plane: ControlPlane, app: App) -> AgentDetail:
    """The agent, once all that it reports first has arrived."""
    uid = str(app.uid)

    async def known() -> bool:
        with contextlib.suppress(NotFound):
            agent = await plane.service.agent(uid)
            return bool(agent.files and agent.components and agent.connected)
        return False

    await until(known, f"{app.service} is listed")
    return await plane.service.agent(uid)


async def until(check: Any, what: str) -> None:
    for _ in range(2000):
        if await check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never: {what}")


async def stands(plane: ControlPlane, number: int, state: str) -> Progress:
    async def reached() -> bool:
        return (await plane.service.progress(number)).state == state

    await until(reached, f"version {number} is {state}")
    return await plane.service.progress(number)


async def row(plane: ControlPlane, app: App) -> AgentSummary:
    return next(r for r in (await plane.service.agents()).items if r.uid == str(app.uid))


async def test_a_change_is_offered_applied_and_acknowledged(plane: ControlPlane, url: str) -> None:
    async with App(url) as app:
        before = await agent_of(plane, app)
        assert before.manageable
        assert before.config.state is ConfigState.NOT_MANAGED
        assert before.host == "box"
        assert [i.name for i in before.instrumentors] == ["replicate"]
        result = await plane.service.change(Edit(set={"sampling.ratio": 0.5}))
        assert result.agents == [str(app.uid)]
        progress = await stands(plane, 1, "acknowledged")
        assert [a.uid for a in progress.agents] == [str(app.uid)]
        after = await plane.service.agent(str(app.uid))
    assert app.offers == [{"sampling": {"ratio": 0.5}}]
    assert after.acknowledged.hash == after.desired.hash
    assert after.acknowledged.at is not None
    key = next(k for k in after.keys if k.path == "sampling.ratio")
    assert (key.desired, key.effective, key.default) == (0.5, 0.5, 1.0)


async def test_only_the_service_that_is_meant_gets_a_change(plane: ControlPlane, url: str) -> None:
    async with App(url, "chat") as chat, App(url, "other") as other:
        await agent_of(plane, chat)
        await agent_of(plane, other)
        await plane.service.change(Edit("chat", {"capture.level": "off"}))
        await stands(plane, 1, "acknowledged")
    assert chat.offers == [{"capture": {"level": "off"}}]
    assert other.offers == []


async def test_a_service_wins_over_all_agents_key_by_key(plane: ControlPlane, url: str) -> None:
    await plane.service.change(Edit(set={"sampling.ratio": 0.1, "capture.level": "off"}))
    await plane.service.change(Edit("chat", {"sampling.ratio": 0.9}))
    async with App(url) as app:
        await stands(plane, 2, "acknowledged")
    assert app.offers[-1] == {"sampling": {"ratio": 0.9}, "capture": {"level": "off"}}


async def test_a_refusal_shows_each_problem_and_is_not_sent_again(
    plane: ControlPlane, url: str
) -> None:
    text = "destinations.a.endpoint: found http://x, expected a destination that answers"
    async with App(url, refuses=text) as app:
        await agent_of(plane, app)
        await plane.service.change(Edit(set={"destinations.a.endpoint": "http://x"}))
        progress = await stands(plane, 1, "refused")
        agent = await plane.service.agent(str(app.uid))
        await plane.endpoint.on_event(
            plane.endpoint.server.agents[app.uid.bytes], _nothing_new(plane, app)
        )
    assert [p.path for p in progress.agents[0].problems] == ["destinations.a.endpoint"]
    assert agent.config.state is ConfigState.REFUSED
    assert agent.effective.document is not None
    assert agent.effective.document["destinations"] == {}
    assert len(app.offers) == 1


def _nothing_new(plane: ControlPlane, app: App) -> Any:
    from llm_observe.opamp.events import StatusReported

    state = plane.endpoint.server.agents[app.uid.bytes].state
    return StatusReported(state, frozenset({"health"}))


async def test_an_agent_that_says_nothing_stays_pending_with_its_old_values_and_their_age(
    plane: ControlPlane, url: str
) -> None:
    async with App(url, silent=True) as app:
        before = await agent_of(plane, app)
        await plane.service.change(Edit(set={"capture.level": "off"}))
        await eventually(lambda: app.offers, "it was sent")
        agent = await plane.service.agent(str(app.uid))
        progress = await plane.service.progress(1)
    assert progress.state == "pending"
    assert agent.desired.document == {"capture": {"level": "off"}}
    assert agent.capture_level == "metadata"
    assert agent.effective == before.effective
    assert agent.config.reason == "it was sent, and has not answered"


async def test_a_process_that_stops_says_so(plane: ControlPlane, url: str) -> None:
    async with App(url) as app:
        await agent_of(plane, app)
        await app.stop()

        async def gone() -> bool:
            return (await row(plane, app)).state == "stopped"

        await until(gone, "it is known to have stopped")
    assert not (await row(plane, app)).connected


async def test_a_change_made_while_an_agent_was_away_reaches_it_when_it_connects(
    plane: ControlPlane, url: str
) -> None:
    app = App(url)
    result = await plane.service.change(Edit("chat", {"sampling.ratio": 0.25}))
    assert (await plane.service.progress(result.version or 0)).state == "no agents"
    async with app:
        await stands(plane, 1, "acknowledged")
    assert app.offers == [{"sampling": {"ratio": 0.25}}]


async def test_undo_brings_back_what_held_before(plane: ControlPlane, url: str) -> None:
    async with App(url) as app:
        await agent_of(plane, app)
        await plane.service.change(Edit(set={"sampling.ratio": 0.5}))
        await stands(plane, 1, "acknowledged")
        result = await plane.service.undo(1)
        assert result.undone_of == 1
        await stands(plane, 2, "acknowledged")
    assert app.offers == [{"sampling": {"ratio": 0.5}}, {}]


async def test_a_version_that_was_replaced_says_who_had_acknowledged_it(
    plane: ControlPlane, url: str
) -> None:
    async with App(url) as app:
        await agent_of(plane, app)
        await plane.service.change(Edit(set={"sampling.ratio": 0.5}))
        await stands(plane, 1, "acknowledged")
        app.silent = True
        await plane.service.change(Edit(set={"sampling.ratio": 0.6}))
        await plane.service.change(Edit(set={"sampling.ratio": 0.7}))
        states = [(await plane.service.progress(n)).state for n in (1, 2, 3)]
    assert states == ["acknowledged", "superseded", "pending"]


async def test_a_collector_is_shown_truthfully_and_never_offered_our_settings(
    plane: ControlPlane, url: str
) -> None:
    await plane.service.change(Edit(set={"sampling.ratio": 0.5}))
    async with App(url, "otelcol-contrib") as app:
        app.client.report(
            effective_config={"": ConfigFile(b"receivers:\n  otlp:\n", "text/yaml")},
            components=Components(b"c2", {"receivers": Component()}),
        )

        async def arrived() -> bool:
            page = await plane.service.agents()
            mine = [r.uid for r in page.items if r.type == "collector"]
            return mine == [str(app.uid)] and bool((await plane.service.agent(mine[0])).files)

        await until(arrived, "its files are shown")
        agent = await plane.service.agent(str(app.uid))
    assert [f.text for f in agent.files] == ["receivers:\n  otlp:\n"]
    assert not agent.manageable
    assert agent.keys == []
    assert "not an llm-observe agent" in agent.config.reason


async def test_an_agent_without_the_capability_is_skipped_with_the_reason(
    plane: ControlPlane, url: str
) -> None:
    capabilities = OURS & ~AgentCapabilities.ACCEPTS_REMOTE_CONFIG
    async with App(url, capabilities=capabilities) as app:
        await agent_of(plane, app)
        result = await plane.service.change(Edit(set={"sampling.ratio": 0.5}))
        agent = await plane.service.agent(str(app.uid))
    assert result.agents == []
    assert "does not accept remote configuration" in result.skipped[0].reason
    assert agent.config.state is ConfigState.NOT_MANAGED
    assert app.offers == []


async def test_many_agents_acknowledge_in_few_transactions(plane: ControlPlane, url: str) -> None:
    apps = [App(url, f"s{number}") for number in range(20)]
    try:
        for app in apps:
            app.client.start()
        for app in apps:
            await agent_of(plane, app)
        result = await plane.service.change(Edit(set={"sampling.ratio": 0.5}))
        progress = await stands(plane, result.version or 0, "acknowledged")
    finally:
        for app in apps:
            await app.stop()
    assert len(progress.agents) == 20


async def test_a_token_is_asked_for_once_there_is_one(plane: ControlPlane, url: str) -> None:
    from llm_observe.control.rules.model import TokenKind

    ingest = await plane.service.create_token(TokenKind.INGEST, "apps")
    admin = await plane.service.create_token(TokenKind.ADMIN, "people")
    async with (
        App(url, "a", token=ingest.value) as welcome,
        App(url, "b", token=admin.value) as wrong,
        App(url, "c") as nobody,
    ):
        await agent_of(plane, welcome)
        await eventually(lambda: wrong.client.state.attempts, "it was refused")
        await eventually(lambda: nobody.client.state.attempts, "it was refused")
        names = [r.service for r in (await plane.service.agents()).items]
        assert "403" in wrong.client.state.last_error
        assert "401" in nobody.client.state.last_error
    assert names == ["a"]
