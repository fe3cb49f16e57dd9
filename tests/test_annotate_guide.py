"""The programs of the guide run, and record what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llm_observe.conventions import kind_of
from llm_observe.policy.capture import Verdict, verdict
from llm_observe.settings.model import CaptureLevel
from llm_observe.testing import capture_spans
from llm_observe.tracing.around import context, feedback, values

GUIDE = (Path(__file__).parents[1] / "docs" / "annotate-your-app.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
RECORDED = [
    ["chat turn", "answer", "search the docs"],
    ["stream an answer"],
    ["plan"],
    [],
    [],
    ["chat turn", "score"],
]


@pytest.mark.parametrize(("program", "names"), list(zip(PROGRAMS, RECORDED, strict=True)))
def test_programs_record_what_they_show(program: str, names: list[str]) -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    with capture_spans() as captured:
        exec(program, space)
        assert [span.name for span in captured.spans] == names


@pytest.mark.parametrize(
    ("key", "level"),
    [
        ("tool.name", "metadata"),
        ("tool.parameters", "redacted"),
        ("retrieval.documents.0.document.score", "metadata"),
        ("retrieval.documents.0.document.content", "redacted"),
        ("agent.name", "metadata"),
        ("llm.prompt_template.version", "metadata"),
        ("llm.prompt_template.variables", "redacted"),
        ("output.value", "redacted"),
        ("annotations.0.annotation.explanation", "redacted"),
        ("annotations.0.annotation.score", "metadata"),
    ],
)
def test_levels_are_those_of_the_table(key: str, level: str) -> None:
    kind = kind_of(key)
    assert kind is not None
    kept = [each for each in CaptureLevel if verdict(kind, each) is not Verdict.DROP]
    assert kept[0] == level


def test_bounds_are_those_of_the_code() -> None:
    for number in (
        values.MAX_CHARACTERS,
        values.MAX_NODES,
        values.MAX_ITEMS,
        feedback.MAX_NAME,
        feedback.MAX_LABEL,
        feedback.MAX_EXPLANATION,
        context.MAX_TEXT,
        context.MAX_TAGS,
        context.MAX_METADATA,
    ):
        assert f"{number:,}" in GUIDE
    assert f"{values.MAX_DEPTH} levels" in GUIDE
