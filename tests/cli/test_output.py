"""Tables, times, and outside text that must not steer a terminal."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.cli.output import Format, age, cell, clean, dump, duration, moment, table


@given(st.text())
def test_cleaned_text_holds_no_control_characters(text: str) -> None:
    assert all(c.isprintable() or c in "\n\t" for c in clean(text))


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_ordinary_text_is_left_alone(text: str) -> None:
    ordinary = "".join(c for c in text if c.isprintable())
    assert clean(ordinary) == ordinary


def test_an_escape_sequence_becomes_visible() -> None:
    assert clean("\x1b[31mred\x07") == "\\x1b[31mred\\x07"


def test_a_cell_is_one_line_and_nothing_is_a_dash() -> None:
    assert cell("a\nb").plain == "a ⏎ b"
    assert cell(None).plain == cell("").plain == "–"
    assert cell(0).plain == "0"
    assert cell("refused").style == "bold red"


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "n"), [("x" * 300, 1)], numbers=("n",))
    out = capsys.readouterr().out
    assert "x" * 300 in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_markup_in_outside_text_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name",), [("[red]x[/red]",)])
    assert "[red]x[/red]" in capsys.readouterr().out


def test_data_is_dumped_whole(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"name": "Zoë", "list": [1, None], "nested": {"a": True}}
    dump(data, Format.JSON)
    assert json.loads(capsys.readouterr().out) == data
    dump(data, Format.YAML)
    assert yaml.safe_load(capsys.readouterr().out) == data


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (172_800, "2 d"), (-5, "0 s")],
)
def test_ages_are_said_in_one_unit(seconds: float, text: str) -> None:
    assert age(1000.0, 1000.0 + seconds) == text


def test_what_is_no_time_is_not_guessed() -> None:
    assert age(None, 0.0) == moment(None) == duration(None) == ""


def test_durations_are_said_for_people() -> None:
    assert duration(850.4) == "850 ms"
    assert duration(1240) == "1.24 s"
