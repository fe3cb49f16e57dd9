"""How values on the command line are read."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from llm_observe.cli.options import seconds
from llm_observe.cli.set import assigned
from llm_observe.cli.undo import turned_back
from llm_observe.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("1", 1),
        ("off", "off"),
        ("no", "no"),
        ("true", True),
        ("[traces, metrics]", ["traces", "metrics"]),
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
        ("env:TOKEN#key", "env:TOKEN#key"),
        ("2026-01-01", "2026-01-01"),
        ("'0.5'", "0.5"),
        ("a=b", "a=b"),
    ],
)
def test_values_are_read_as_yaml_1_2(text: str, value: Any) -> None:
    assert assigned([f"some.key={text}"]) == {"some.key": value}


@pytest.mark.parametrize("text", ["", "x\nother: 1", "{", "*alias", "a: b", "~"])
def test_what_is_no_value_is_refused_with_its_path(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^some\.key: "):
        assigned([f"some.key={text}"])


@pytest.mark.parametrize("texts", [["sampling.ratio"], ["=1"], ["a..b=1"], ["a=1", "a=2"]])
def test_what_is_no_assignment_is_wrong_usage(texts: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        assigned(texts)


def test_taking_changes_back_restores_and_removes() -> None:
    changes: list[dict[str, Any]] = [
        {"path": "sampling.ratio", "before": 1.0, "after": 0.5},
        {"path": "capture.level", "before": None, "after": "off"},
    ]
    document = {"sampling": {"ratio": 0.5}, "capture": {"level": "off"}}
    assert turned_back(document, changes) == {"sampling": {"ratio": 1.0}}


@pytest.mark.parametrize(
    ("text", "value"), [("30s", 30), ("2m", 120), ("500ms", 0.5), ("1h", 3600), ("7", 7)]
)
def test_times_have_units(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "-1s", "0", "5 parsecs", "nan", "inf", "99h"])
def test_what_is_no_time_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        seconds(text)
