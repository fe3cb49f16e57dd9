"""Every key has its row: an example that is right, when it holds, and the limit that caps it."""

from __future__ import annotations

from typing import Any

import pytest

from llm_observe.settings.documents import flatten, merge, with_value
from llm_observe.settings.keys import key_rows
from llm_observe.settings.layers import beyond_limits, build
from llm_observe.settings.model import CaptureLevel, Limits
from llm_observe.settings.notes import NOTES, note_of
from llm_observe.settings.schema import json_schema, parse, validate

PATHS = [row.path for row in key_rows(json_schema())]
UNTIL = {"capture": {"grants": {"x": {"until": "2026-12-01T18:00:00Z"}}}}
NARROW = Limits(
    capture_level=CaptureLevel.OFF,
    destination_hosts=(),
    grant_longest_s=0,
    queue_mib=0,
    buffer_mib=0,
)


def example(path: str) -> dict[str, Any]:
    """A document with the example alone, and what belongs to it."""
    value = parse(f"value: {note_of(path).example}".encode())["value"]
    document = with_value({}, path.replace("<name>", "x"), value)
    return merge(UNTIL, document) if path.startswith("capture.grants") else document


@pytest.mark.parametrize("path", PATHS)
def test_every_key_has_an_example_that_is_right_and_not_the_default(path: str) -> None:
    document = example(path)
    validate(document)
    build(document)
    default = next(row.default for row in key_rows(json_schema()) if row.path == path)
    assert note_of(path).example != default or "rules" in path


@pytest.mark.parametrize("path", PATHS)
def test_a_limit_is_named_where_there_is_one_and_nowhere_else(path: str) -> None:
    """Of levels the example may be the lowest there is, which nothing caps."""
    key = path.replace("<name>", "x")
    document = (
        with_value(example(path), key, "full") if "LEVEL" in note_of(path).limit else example(path)
    )
    capped = {problem.path for problem in beyond_limits(document, NARROW)}
    assert (key in capped) is bool(note_of(path).limit)
    assert key in flatten(document)


def test_a_key_without_a_row_is_named() -> None:
    with pytest.raises(LookupError, match=r"sampling\.colour has no row"):
        note_of("sampling.colour")


def test_there_is_no_row_of_a_key_that_is_gone() -> None:
    assert NOTES.keys() <= {*PATHS}
