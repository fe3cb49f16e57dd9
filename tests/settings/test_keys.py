"""The rows of the settings document, made from its schema."""

from __future__ import annotations

import pytest

from llm_observe.settings.documents import flatten
from llm_observe.settings.keys import key_rows
from llm_observe.settings.layers import as_document
from llm_observe.settings.model import Settings
from llm_observe.settings.schema import json_schema

ROWS = {key.path: key for key in key_rows(json_schema())}


def test_every_key_with_a_default_has_a_row() -> None:
    assert flatten(as_document(Settings())).keys() <= ROWS.keys()


def test_every_row_has_a_sentence_and_says_what_may_stand_there() -> None:
    assert all(key.sentence and key.allowed and key.allowed != "None" for key in ROWS.values())


def test_choices_bounds_and_names_are_shown() -> None:
    assert ROWS["capture.level"].allowed == "off, metadata, redacted, full"
    assert ROWS["sampling.ratio"].allowed == "a number, at least 0, at most 1"
    assert ROWS["destinations.<name>.headers.<name>"].allowed == "a text"
    assert ROWS["destinations.<name>.signals"].allowed == "a list of: traces, metrics"


@pytest.mark.parametrize(
    ("path", "kind", "choices"),
    [
        ("sampling.ratio", "number", ()), ("sampling.by", "choice", ("trace", "session")),
        ("sampling.keep.tokens_over", "integer", ()), ("sampling.keep.errors", "boolean", ()),
        ("capture.input", "choice", ("off", "metadata", "redacted", "full")),
        ("destinations.<name>.signals", "choices", ("traces", "metrics")),
        ("redaction.allow", "texts", ()), ("redaction.hash_key", "text", ()),
        ("destinations.<name>.headers.<name>", "text", ()),
    ],
)  # fmt: skip
def test_a_form_can_tell_what_a_value_is(path: str, kind: str, choices: tuple[str, ...]) -> None:
    assert (ROWS[path].kind, ROWS[path].choices) == (kind, choices)
