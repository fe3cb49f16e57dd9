"""Grants in the control plane: asked for, shown, revoked; never an id twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.control.rules import grants as rules
from llm_observe.control.rules.grants import FullCapture, GrantState, GrantWish
from llm_observe.control.rules.model import Edit
from llm_observe.errors import NotFound, SettingsError
from llm_observe.settings.documents import nest
from llm_observe.settings.schema import validate
from tests.control.ui.seed import CHATBOT, WORKER, world

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        ({}, "until: found neither until nor for_s"),
        ({"for_s": 1.0, "until": rules.written(NOW + 1)}, "until: found both"),
        ({"for_s": -1.0}, "for_s: found -1.0, expected an end in the next 7 days"),
        ({"for_s": 604_801.0}, "for_s: found"),
        ({"until": rules.written(NOW)}, "until: found"),
        ({"until": "2027-02-01T12:00:00"}, "with a time zone"),
        ({"until": "soon"}, "with a time zone"),
    ],
)
def test_an_end_is_one_moment_in_the_next_week(wish: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        rules.deadline(GrantWish(**wish), NOW)


@given(st.floats(0.01, 604_000))
def test_what_is_written_is_valid_and_ends_when_it_was_said(seconds: float) -> None:
    wish = GrantWish(match={"user": "ann"}, for_s=seconds)
    end = rules.deadline(wish, NOW)
    document = nest(rules.values("g", wish, end, NOW))
    validate(document)
    (grant,) = rules.of(document).values()
    assert rules.end_of(grant) == pytest.approx(end, abs=0.002)
    assert grant["longest_s"] == pytest.approx(seconds, abs=0.002)


async def test_a_grant_says_whom_it_reaches_before_it_begins(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.app(CHATBOT, "bot")
        wish = GrantWish(service="bot", match={"user": "ann"}, for_s=900, comment="why", author="A")
        preview = await here.service.preview_grant(wish)
        assert preview.change.agents == [CHATBOT]
        assert preview.change.loosens_capture
        assert (await here.service.settings("bot")).version is None
        made = await here.service.grant(wish)
        (view,) = await here.service.grants()
        assert (view.id, view.state) == (made.id, GrantState.NOT_IN_FORCE)
        assert (view.author, view.comment, view.match) == ("A", "why", {"user": "ann"})
        await here.take(CHATBOT)
        (view,) = await here.service.grants()
        assert (view.state, [agent.uid for agent in view.agents]) == (GrantState.RUNNING, [CHATBOT])


async def test_full_capture_of_a_grant_is_told_with_its_end(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.app(CHATBOT, "bot")
        await here.app(WORKER, "worker", settings={"capture": {"output": "full"}})
        made = await here.service.grant(GrantWish(service="bot", for_s=900))
        await here.take(CHATBOT)
        rows = {row.uid: row for row in (await here.service.agents()).items}
        assert rows[CHATBOT].full_capture
        assert rows[CHATBOT].full_capture_until == pytest.approx(made.until, abs=0.01)
        assert (rows[WORKER].full_capture, rows[WORKER].full_capture_until) == (True, None)
        record = here.service._roster.get(CHATBOT)
        assert record is not None
        assert rules.full_capture(record) != FullCapture()


async def test_revoked_it_is_gone_and_its_id_is_used_up(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        made = await here.service.grant(GrantWish(for_s=900))
        document = (await here.service.settings()).document
        ended = await here.service.revoke(made.id, author="B")
        assert await here.service.grants() == []
        with pytest.raises(NotFound):
            await here.service.revoke(made.id)
        for service in (None, "bot"):
            with pytest.raises(SettingsError, match="an id used before"):
                await here.service.change(Edit(service, document=document))
        assert ended.version is not None
        undone = await here.service.undo(ended.version)
        assert undone.document == {}


async def test_an_undo_keeps_a_grant_that_still_runs(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        made = await here.service.grant(GrantWish(for_s=900))
        number = await here.change(set={"sampling.ratio": 0.5})
        await here.service.undo(number)
        assert [view.id for view in await here.service.grants()] == [made.id]


async def test_one_that_is_over_cannot_begin_and_leaves_with_the_next(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        moment = [NOW]
        here.service._clock = lambda: moment[0]
        first = await here.service.grant(GrantWish(for_s=60))
        moment[0] += 61
        (view,) = await here.service.grants()
        assert view.state is GrantState.OVER
        second = await here.service.grant(GrantWish(for_s=60))
        assert [view.id for view in await here.service.grants()] == [second.id]
        assert first.id != second.id
        late = {"capture.grants.g.until": rules.written(NOW)}
        with pytest.raises(SettingsError, match="a moment to come"):
            await here.change(set=late)


@pytest.mark.parametrize(
    ("before", "after", "looser"),
    [
        ({}, {"g": {"until": rules.written(NOW)}}, True),
        ({"g": {"until": rules.written(NOW)}}, {}, False),
        ({"g": {"until": rules.written(NOW)}}, {"g": {"until": rules.written(NOW + 1)}}, True),
        ({"g": {"until": rules.written(NOW)}}, {"g": {"until": rules.written(NOW - 1)}}, False),
        ({"g": {"level": "redacted"}}, {"g": {"level": "full"}}, True),
        ({"g": {"match": {"user": "ann"}}}, {"g": {}}, True),
    ],
)
def test_what_loosens(before: dict[str, Any], after: dict[str, Any], looser: bool) -> None:
    one, other = ({"capture": {"grants": grants}} for grants in (before, after))
    assert rules.loosened(one, other) is looser
