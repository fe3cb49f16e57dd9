from __future__ import annotations

import json
from typing import Any

import pytest

from llm_observe.control.rules import views
from llm_observe.control.rules.model import ComponentView, Desired, Effective, HealthView, Presence
from llm_observe.control.rules.record import File
from tests.control.conftest import record


def test_a_key_shows_desired_effective_layer_and_default_side_by_side() -> None:
    wanted = Desired({"sampling": {"ratio": 0.5}, "destinations": {"p": {"timeout_s": 3}}}, 1, "x")
    effective = Effective(
        {"sampling": {"ratio": 0.25}, "capture": {"level": "full"}},
        {"sampling.ratio": {"layer": "remote", "since": 7}, "capture.level": {"layer": "code"}},
        9.0,
    )
    rows = {row.path: row for row in views.keys(wanted, effective)}
    ratio = rows["sampling.ratio"]
    assert (ratio.desired, ratio.effective, ratio.layer, ratio.since, ratio.default) == (
        0.5, 0.25, "remote", 7.0, 1.0,
    )  # fmt: skip
    level = rows["capture.level"]
    assert (level.desired, level.effective, level.layer, level.default) == (
        None, "full", "code", "metadata",
    )  # fmt: skip
    timeout = rows["destinations.p.timeout_s"]
    assert (timeout.desired, timeout.effective, timeout.default) == (3, None, 10.0)


def test_what_an_agent_did_not_report_is_absent_and_never_the_desired_value() -> None:
    wanted = Desired({"sampling": {"ratio": 0.5}}, 1, "x")
    assert {row.effective for row in views.keys(wanted, Effective())} == {None}


@pytest.mark.parametrize("source", [None, 1, "remote", [], {"layer": 3, "since": "x"}])
def test_a_source_that_makes_no_sense_is_unknown(source: Any) -> None:
    row = views.keys(Desired(), Effective({}, {"sampling.ratio": source}))[0]
    assert (row.layer, row.since) == (None, None)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"files": {"llm-observe": File(b"{}")}}, "llm-observe"),
        ({"components": {"settings": ComponentView({"schema.hash": "a"})}}, "llm-observe"),
        ({"components": {"receivers": ComponentView()}}, "collector"),
        ({"components": {"settings": ComponentView()}}, "other"),
        ({}, "other"),
    ],
)
def test_the_type_is_what_an_agent_reports(changes: dict[str, Any], kind: str) -> None:
    assert views.kind(record(**changes)) == kind


def test_a_file_that_is_no_text_has_none_and_a_long_one_is_cut() -> None:
    long = b"x" * (views.MAX_FILE_CHARS + 1)
    files = {f.name: f for f in views.files(record(files={"b": File(b"\xff"), "l": File(long)}))}
    assert (files["b"].text, files["b"].size) == (None, 1)
    assert len(files["l"].text or "") == views.MAX_FILE_CHARS
    assert files["l"].truncated


def test_counts_are_of_those_who_are_there() -> None:
    def row(presence: Presence, healthy: bool, level: str) -> Any:
        body = json.dumps({"capture": {"level": level}}).encode()
        agent = record(
            presence=presence, health=HealthView(healthy), files={"llm-observe": File(body)}
        )
        return views.summary(agent, Desired())

    rows = [
        row(Presence.CONNECTED, True, "full"), row(Presence.CONNECTED, False, "off"),
        row(Presence.OFFLINE, False, "full"),
    ]  # fmt: skip
    found = views.counts(rows)
    assert (found.connected, found.total) == (2, 3)
    assert (found.unhealthy, found.capturing_content, found.not_managed) == (1, 1, 2)


@pytest.mark.parametrize("level", [1, None, [], {}])
def test_a_level_that_is_no_text_is_not_shown_as_one(level: Any) -> None:
    body = json.dumps({"capture": {"level": level}, "sampling": {"ratio": True}}).encode()
    found = views.summary(record(files={"llm-observe": File(body)}), Desired())
    assert (found.capture_level, found.sampling_ratio) == (None, None)
