"""docs/instrumentation.md against the tables of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llm_observe.conventions import FIELDS, METRICS, Field, Kind
from llm_observe.policy.capture import Verdict, verdict
from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.providers import PROVIDERS, replicate_answer, replicate_fetch
from llm_observe.tracing.snapshots import MAX_ITEMS
from llm_observe.tracing.wrapping import inflight

PAGE = (Path(__file__).parents[2] / "docs" / "instrumentation.md").read_text()
WORDS = {"yes": Verdict.KEEP, "masked": Verdict.MASK, "–": Verdict.DROP}
ROWS = {
    tuple(re.findall(r"`([\w.]+)`", cells[1])): tuple(WORDS[cell] for cell in cells[2:])
    for line in PAGE.splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 6
    and set(cells[2:]) <= set(WORDS)
}


def said(key: str) -> tuple[Verdict, ...]:
    (found,) = [verdicts for keys, verdicts in ROWS.items() if key in keys]
    return found


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_each_attribute_is_on_the_page_with_what_leaves_at_each_level(field: Field) -> None:
    wanted = tuple(verdict(field.kind, level) for level in CaptureLevel)
    for key in field.keys_in("1.41"):
        assert said(key) == wanted


def test_the_text_of_errors_is_said_truly() -> None:
    wanted = tuple(verdict(Kind.ERROR, level) for level in CaptureLevel)
    assert said("exception.message") == said("exception.stacktrace") == wanted


def test_the_limits_are_those_of_the_code() -> None:
    assert f"copied to {MAX_ITEMS} items" in PAGE
    assert f"last {replicate_answer.LOGS_TAIL:,} characters" in PAGE
    assert f"{inflight.OPEN_S / 60:g} minutes" in PAGE
    assert replicate_fetch.TIMEOUT_S == 2
    assert "at most two seconds" in PAGE


def test_every_metric_is_on_the_page() -> None:
    assert all(f"`{metric.genai}`" in PAGE for metric in METRICS)


def test_every_library_and_major_version_is_on_the_page() -> None:
    for provider in PROVIDERS:
        assert all(f"| `{provider.library}` | {major}.x" in PAGE for major in provider.majors)


def test_every_method_that_begins_a_call_is_on_the_page() -> None:
    targets = [target for each in PROVIDERS for target in each.targets if target.request]
    names = {target.name.rpartition(".")[2].removeprefix("async_") for target in targets}
    assert all(f".{name}`" in PAGE for name in names)
