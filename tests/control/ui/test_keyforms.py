"""Forms made from the keys: every key has a field, and what stands in it is what is set."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.datastructures import FormData

from llm_observe.control.rules.model import SettingsView
from llm_observe.control.ui import forms, keyforms
from llm_observe.errors import SettingsError
from llm_observe.settings.documents import flatten, merge, with_value
from llm_observe.settings.keys import key_rows
from llm_observe.settings.notes import note_of
from llm_observe.settings.schema import json_schema, parse, validate

PATHS = [key.path for key in key_rows(json_schema())]
PARTS = ("sampling", "capture", "redaction", "instrumentation")
OWN = ("sampling.ratio", "capture.level", "conventions.genai")
"""Keys with a card of their own."""


def view(document: dict[str, Any] | None = None) -> SettingsView:
    return SettingsView(None, document or {}, 1 if document else None, "", None, ())


def form(*sent: tuple[str, str]) -> FormData:
    return FormData([*sent])


def example(path: str) -> tuple[str, Any]:
    value = parse(f"value: {note_of(path).example}".encode())["value"]
    return path.replace("<name>", r"x\.y", 1).replace("<name>", "z"), value


def everything() -> dict[str, Any]:
    """A document in which every key is set, but for grants."""
    document: dict[str, Any] = {}
    for path in PATHS:
        if not path.startswith("capture.grants"):
            document = with_value(document, *example(path))
    return document


def fields(document: dict[str, Any]) -> dict[str, keyforms.Field]:
    parts = [keyforms.part(name, document) for name in PARTS]
    single = [field for part in parts for field in part.fields]
    listed = [
        f for part in parts for each in part.lists for entry in each.entries for f in entry.fields
    ]
    more = keyforms.destination_fields("x.y", document)
    return {field.path: field for field in (*single, *listed, *more)}


def test_every_key_that_is_set_has_a_field_that_shows_it() -> None:
    document = everything()
    validate(document)
    shown = fields(document)
    for path in flatten(document):
        known = path in OWN or path.startswith("destinations")
        around = path.rpartition(".")[0]
        assert known or path in shown or around in shown, path
    assert all(field.value and field.label and field.hint for field in shown.values())


def test_sending_back_what_is_shown_changes_nothing() -> None:
    document = everything()
    for name in PARTS:
        part = keyforms.part(name, document)
        sent = FormData([("part", name), *((f.name, f.value) for f in part.fields)])
        again = forms.part(sent, view(document))
        assert merge(document, keyed(again.set)) == document
        for listed in part.lists:
            for entry in listed.entries:
                told = [("list", listed.prefix), ("name", entry.name)]
                sent = FormData([*told, *((f.name, f.value) for f in entry.fields)])
                edit = forms.entry(sent, view(document))
                assert merge(document, keyed(edit.set)) == document


def keyed(values: Any) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for path, value in values.items():
        document = with_value(document, path, value)
    return document


def test_an_emptied_field_has_no_opinion_and_one_that_was_not_sent_is_left() -> None:
    base = view({"sampling": {"keep": {"errors": True, "tokens_over": 9}}})
    sent = FormData([("part", "sampling"), ("sampling.keep.errors", "")])
    edit = forms.part(sent, base)
    assert (edit.set, edit.unset) == ({}, ["sampling.keep.errors"])


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("sampling.keep.tokens_over", "9", 9), ("sampling.per_second", "0.5", 0.5),
        ("sampling.per_second", "many", "many"), ("sampling.keep.errors", "false", False),
        ("sampling.per_second", "nan", "nan"), ("sampling.per_second", "9" * 400, "9" * 400),
    ],
)  # fmt: skip
def test_a_text_is_read_as_what_the_key_holds_else_left_to_the_validator(
    name: str, text: str, value: Any
) -> None:
    edit = forms.part(FormData([("part", "sampling"), (name, text)]), view())
    assert edit.set == {name: value}
    assert type(edit.set[name]) is type(value)


def test_a_rule_is_named_filled_and_taken_out() -> None:
    sent = [("list", "capture.rules"), ("name", "a.b"), ("level", "off"), ("order", "")]
    attributes = ("match.attributes", "tenant = blue\n\nplan=*")
    edit = forms.entry(FormData([*sent, attributes]), view())
    assert edit.set == {
        r"capture.rules.a\.b.level": "off",
        r"capture.rules.a\.b.match.attributes": {"tenant": "blue", "plan": "*"},
    }
    there = view({"capture": {"rules": {"a.b": {"level": "off"}}}})
    assert forms.without_entry(form(*sent), there).unset == [r"capture.rules.a\.b"]


@pytest.mark.parametrize(
    "sent",
    [
        [("list", "capture.rules"), ("name", ""), ("level", "off")],
        [("list", "capture.rules"), ("name", "a"), ("level", "")],
        [("list", "capture.rules"), ("name", "a"), ("match.attributes", "tenant")],
        [("list", "capture.rules"), ("name", "a"), ("match.attributes", "a=1\na=2")],
        [("list", "capture"), ("name", "a"), ("level", "off")],
    ],
)
def test_what_is_no_rule_is_refused(sent: list[tuple[str, str]]) -> None:
    with pytest.raises(SettingsError):
        forms.entry(form(*sent), view())
