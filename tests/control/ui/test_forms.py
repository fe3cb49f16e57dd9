from __future__ import annotations

from typing import Any

import pytest
from starlette.datastructures import FormData, UploadFile

from llm_observe.control.rules.model import SettingsView
from llm_observe.control.ui import forms
from llm_observe.errors import SettingsError


def view(document: dict[str, Any] | None = None, service: str | None = None) -> SettingsView:
    return SettingsView(service, document or {}, 1 if document else None, "", None, ())


def form(*pairs: tuple[str, str], **fields: str) -> FormData:
    return FormData([*fields.items(), *pairs])


def test_a_ratio_is_set_for_the_scope_of_the_page() -> None:
    edit = forms.sampling(form(ratio=" 0.5 ", comment="less", author="Ada"), view(service="bot"))
    assert (edit.service, edit.set, edit.unset) == ("bot", {"sampling.ratio": 0.5}, [])
    assert (edit.comment, edit.author) == ("less", "Ada")


def test_an_emptied_field_takes_the_key_back() -> None:
    edit = forms.sampling(form(ratio=""), view({"sampling": {"ratio": 0.5}}))
    assert (edit.set, edit.unset) == ({}, ["sampling.ratio"])


def test_an_empty_field_of_an_unset_key_changes_nothing() -> None:
    edit = forms.sampling(form(ratio=""), view())
    assert not edit.set
    assert not edit.unset


def test_what_is_no_number_is_left_to_the_validator() -> None:
    assert forms.sampling(form(ratio="half"), view()).set == {"sampling.ratio": "half"}


def test_a_destination_sets_only_the_fields_that_were_filled() -> None:
    edit = forms.destination(
        form(
            ("signals", "traces"), ("header_name", "authorization"), ("header_value", "env:KEY"),
            ("header_name", ""), ("header_value", ""),
            name="phoenix", endpoint="http://127.0.0.1:6006", enabled="", compression="none",
            timeout_s="3",
        ),
        view(),
    )  # fmt: skip
    assert edit.set == {
        "destinations.phoenix.endpoint": "http://127.0.0.1:6006",
        "destinations.phoenix.compression": "none",
        "destinations.phoenix.timeout_s": 3.0,
        "destinations.phoenix.signals": ["traces"],
        "destinations.phoenix.headers": {"authorization": "env:KEY"},
    }


def test_a_dot_in_a_name_is_no_separator() -> None:
    edit = forms.destination(form(name="eu.west", enabled="false"), view())
    assert edit.set == {"destinations.eu\\.west.enabled": False}


def test_headers_are_replaced_as_a_whole() -> None:
    document = {"destinations": {"p": {"endpoint": "http://a", "headers": {"old": "env:OLD"}}}}
    edit = forms.destination(
        form(("header_name", "new"), ("header_value", "env:NEW"), name="p", endpoint="http://a"),
        view(document),
    )
    assert "destinations.p.headers" in edit.unset
    assert edit.set["destinations.p.headers"] == {"new": "env:NEW"}


@pytest.mark.parametrize(
    ("pairs", "path"),
    [
        ([("name", " ")], "name"),
        ([("name", "p"), ("header_name", ""), ("header_value", "env:X")], "headers"),
        ([("name", "p"), ("header_name", "a"), ("header_value", "env:X"),
          ("header_name", "a"), ("header_value", "env:Y")], "headers"),
    ],
)  # fmt: skip
def test_a_destination_that_makes_no_sense_is_refused(
    pairs: list[tuple[str, str | UploadFile]], path: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        forms.destination(FormData(pairs), view())
    assert refused.value.problems[0].path == path


def test_a_removed_destination_goes_with_all_its_keys() -> None:
    document = {"destinations": {"p": {"endpoint": "http://a"}}}
    assert forms.without_destination(form(name="p"), view(document)).unset == ["destinations.p"]


def test_the_editor_replaces_the_whole_document() -> None:
    edit = forms.whole(form(text="capture: {level: off}", author="Ada"), view({"sampling": {"ratio": 1}}))  # fmt: skip
    assert edit.document == {"capture": {"level": "off"}}
    assert edit.author == "Ada"


def test_text_that_is_no_yaml_is_refused_with_its_place() -> None:
    with pytest.raises(SettingsError, match="line 1"):
        forms.whole(form(text="a: [1"), view())


def test_a_stored_destination_comes_back_into_its_form() -> None:
    (item,) = forms.known_destinations(
        {"destinations": {"p": {"endpoint": "http://a", "timeout_s": 2.5, "enabled": False,
                                "headers": {"x": "env:X"}}}}
    )  # fmt: skip
    assert (item.name, item.timeout_s, item.enabled) == ("p", "2.5", "false")
    assert item.headers == (("x", "env:X"),)


def test_the_document_survives_the_editor() -> None:
    document = {"capture": {"level": "off"}, "destinations": {"a.b": {"endpoint": "http://x"}}}
    assert forms.whole(form(text=forms.as_yaml(document)), view()).document == document
