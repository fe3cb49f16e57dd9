"""Use cases over a temporary database, with time that moves only when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from llm_observe.control.cases import fleet as cases_fleet
from llm_observe.control.rules.model import Edit, Notice, Presence, TokenKind
from llm_observe.control.service import Service
from llm_observe.errors import Conflict, NotFound, SettingsError
from llm_observe.opamp.events import AgentConnected, AgentDisconnected, StatusReported
from llm_observe.opamp.values import (
    AgentDescription,
    AgentState,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
)
from llm_observe.settings.schema import schema_hash
from llm_observe.spanstore.sqlite import SpanStore
from tests.control.conftest import OURS, SteppedClock

pytestmark = pytest.mark.anyio
UID = str(UUID(int=1))


@pytest.fixture
async def service(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[Service]:
    store = SpanStore(tmp_path / "spans.db")
    opened = await Service.open(tmp_path, store, clock=clock)
    yield opened
    opened.stopping()
    await opened.close()
    store.close()


async def meet(service: Service, number: int = 1, level: str = "metadata", schema: str = "") -> str:
    uid = str(UUID(int=number))
    body = f'{{"capture": {{"level": "{level}"}}}}'.encode()
    state = AgentState(
        description=AgentDescription({"service.name": "chat"}),
        effective_config={"llm-observe": ConfigFile(body)},
        components=Components(
            b"c", {"settings": Component({"schema.hash": schema or schema_hash()})}
        ),
        capabilities=OURS,
    )
    changed = frozenset({"description", "effective_config", "components", "capabilities"})
    await service.agent_event(uid, AgentConnected(), "websocket")
    await service.agent_event(uid, StatusReported(state, changed), "websocket")
    return uid


async def says(service: Service, uid: str, state: ConfigState, config_hash: str) -> None:
    status = ConfigStatus(bytes.fromhex(config_hash), state)
    event = StatusReported(AgentState(config_status=status), frozenset({"config_status"}))
    await service.agent_event(uid, event, "websocket")


async def test_heartbeats_touch_memory_only(service: Service) -> None:
    uid = await meet(service)
    before = service.load().writes
    for _ in range(100):
        await service.agent_event(uid, StatusReported(AgentState(), frozenset()), "websocket")
    assert service.load().writes == before


async def test_ages_are_written_down_by_and_by(service: Service, clock: SteppedClock) -> None:
    uid = await meet(service)
    clock.step(50)
    await service.agent_event(uid, StatusReported(AgentState(), frozenset()), "websocket")
    await service.tidy()
    assert [r.last_seen for r in await service._storage.agents(9)] == [clock.now]


async def test_a_thousand_acknowledgements_are_a_handful_of_transactions(service: Service) -> None:
    uids = [await meet(service, number) for number in range(1, 301)]
    await service.change(Edit(set={"sampling.ratio": 0.5}))
    offers = [service.offer_for(uid) for uid in uids]
    before = service.load().commits
    await asyncio.gather(
        *(
            says(service, u, ConfigState.APPLIED, o.hash)
            for u, o in zip(uids, offers, strict=True)
            if o
        )
    )
    assert service.load().commits - before < 10
    assert (await service.progress(1)).state == "acknowledged"


async def test_loosening_is_said_before_anything_is_sent(service: Service) -> None:
    await meet(service, 1, "off")
    assert (await service.preview(Edit(set={"capture.level": "metadata"}))).loosens_capture
    assert not (await service.preview(Edit(set={"capture.level": "off"}))).loosens_capture
    assert service.offer_for(UID) is None


async def test_a_preview_names_whom_it_reaches_and_whom_not(service: Service) -> None:
    uid = await meet(service)
    foreign = str(UUID(int=2))
    await service.agent_event(foreign, AgentConnected(), "http")
    found = await service.preview(Edit(set={"sampling.ratio": 0.5}))
    assert found.agents == [uid]
    assert [s.uid for s in found.skipped] == [foreign]


async def test_changes_made_at_the_same_time_all_count(service: Service) -> None:
    edits = [Edit(set={f"destinations.d{n}.endpoint": "http://h"}) for n in range(20)]
    await asyncio.gather(*map(service.change, edits))
    assert len((await service.settings()).document["destinations"]) == 20
    assert len((await service.versions()).items) == 20


async def test_a_change_is_heard_by_watchers_and_the_endpoint(service: Service) -> None:
    watcher, heard = service.changes(), []
    service.on_publish.append(lambda: heard.append(service.offer_for(UID)))
    await meet(service)
    await service.change(Edit(set={"sampling.ratio": 0.5}))
    assert [offer.document for offer in heard if offer] == [{"sampling": {"ratio": 0.5}}]
    service.stopping()
    assert [n async for n in watcher] == [Notice("agents", UID), Notice("settings", "1")]


async def test_nothing_is_stored_when_something_is_wrong(service: Service) -> None:
    for edit in (
        Edit(set={"sampling.ratio": 2}),
        Edit("x" * 256, {"sampling.ratio": 1}),
        Edit(set={"sampling.ratio": 1}, comment="x" * 2001),
    ):
        with pytest.raises(SettingsError):
            await service.change(edit)
    assert (await service.versions()).items == []
    assert await service.audit() == []


@pytest.mark.parametrize(
    ("reason", "kept_s"),
    [
        ("the agent disconnected", cases_fleet.STOPPED_KEPT_S),
        ("the connection broke", cases_fleet.OFFLINE_KEPT_S),
    ],
)
async def test_agents_that_are_gone_are_forgotten_after_a_while(
    service: Service, clock: SteppedClock, reason: str, kept_s: float
) -> None:
    uid = await meet(service)
    await service.agent_event(uid, AgentDisconnected(reason), "websocket")
    clock.step(kept_s - 1)
    await service.tidy()
    assert (await service.agent(uid)).uid == uid
    clock.step(2)
    await service.tidy()
    with pytest.raises(NotFound):
        await service.agent(uid)
    assert await service._storage.agents(9) == []


async def test_too_many_agents_forget_those_seen_least_recently(
    service: Service, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases_fleet, "MAX_AGENTS", 2)
    for number in (1, 2, 3):
        uid = await meet(service, number)
        if number != 2:
            await service.agent_event(uid, AgentDisconnected("lost"), "websocket")
        clock.step()
    await service.tidy()
    left = {row.uid for row in (await service.agents()).items}
    assert left == {str(UUID(int=2)), str(UUID(int=3))}


async def test_the_last_admin_token_stays_where_others_can_reach_the_server(
    tmp_path: Path, clock: SteppedClock
) -> None:
    store = SpanStore(tmp_path / "spans.db")
    service = await Service.open(tmp_path, store, loopback=False, clock=clock)
    token = await service.create_token(TokenKind.ADMIN, "ada")
    with pytest.raises(Conflict):
        await service.delete_token(token.id)
    await service.close()
    store.close()


async def test_when_a_token_was_used_is_remembered(
    service: Service, clock: SteppedClock, tmp_path: Path
) -> None:
    token = await service.create_token(TokenKind.ADMIN, "ada")
    at = clock.step()
    assert service.keyring.find(token.value) is not None
    await service.tidy()
    assert [t.view.last_used for t in await service._storage.tokens()] == [at]
    assert token.value.encode() not in (tmp_path / "control.db").read_bytes()


async def test_all_connected_agents_are_told_however_many_there_are(
    service: Service,
) -> None:
    uid = await meet(service, 1, "full")
    record = service._roster.get(uid)
    assert record is not None
    for number in range(2, 503):
        service._roster.put(replace(record, uid=str(UUID(int=number))))
    service._roster.put(replace(record, uid="gone", presence=Presence.OFFLINE))
    assert len(await service.connected()) == 502
    assert len(await service.connected("chat")) == 502
    assert await service.connected("other") == []


async def test_rows_follow_the_agent_and_what_is_wanted_of_it(service: Service) -> None:
    uid = await meet(service)
    (row,) = (await service.agents()).items
    assert (row.config.state, row.capture_level) == ("not managed", "metadata")
    await service.change(Edit("chat", set={"sampling.ratio": 0.5}))
    assert (await service.agents()).items[0].config.state == "pending"
    await meet(service, level="full")
    assert [row.full_capture for row in await service.connected()] == [True]
    await service.agent_event(uid, AgentDisconnected("the line broke"), "websocket")
    assert await service.connected() == []
    await service.forget_agent(uid)
    assert (await service.agents()).items == []


async def test_the_history_says_of_each_version_what_its_own_page_says(service: Service) -> None:
    for number in range(7):
        scope = (None, "chat", "batch")[number * number % 3]
        await service.change(Edit(scope, set={"sampling.ratio": number / 10}))
    cursor, seen = None, 0
    while seen < 7:
        page = await service.versions(limit=3, cursor=cursor)
        for item in page.items:
            assert item.changes == (await service.version(item.version)).changes
        cursor, seen = page.next, seen + len(page.items)
    assert cursor is None
