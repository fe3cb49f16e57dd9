import dataclasses
import datetime
import enum
import json
import math
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from llm_observe.tracing.around.values import MAX_CHARACTERS, MAX_ITEMS, encode, encode_object


class Rude:
    def __repr__(self) -> str:
        raise AssertionError("nobody may ask")

    __str__ = __repr__

    def __getattribute__(self, name: str) -> Any:
        if name in ("__class__", "__dict__"):
            return object.__getattribute__(self, name)
        raise AssertionError("nobody may look")


class Colour(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    a: int
    b: Any


@dataclasses.dataclass
class Data:
    x: int
    y: Any = None


@dataclasses.dataclass(slots=True)
class Slotted:
    x: int


class Model(BaseModel):
    name: str
    inner: Any = None


@pytest.mark.parametrize(
    ("value", "copied"),
    [
        (None, None),
        (True, True),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (2**3000, "<int>"),
        (b"abc", "<bytes of 3>"),
        ({1: {2}}, {"1": [2]}),
        (Pair(1, Colour.RED), [1, "red"]),
        (Data(1, Slotted(2)), {"x": 1, "y": {"x": 2}}),
        (Model(name="a", inner=[1]), {"name": "a", "inner": [1]}),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("a/b"), "a/b"),
        (print, "<builtin_function_or_method>"),
        ({"k": object}, {"k": "<type>"}),
    ],
)
def test_values_become_plain_json(value: Any, copied: Any) -> None:
    text, mime = encode(value)
    assert (json.loads(text), mime) == (copied, "application/json")


def test_a_stranger_is_never_asked_for_anything() -> None:
    assert json.loads(encode([Rude()])[0]) == ["<Rude>"]


@pytest.mark.parametrize(
    ("value", "copied"),
    [
        (numpy.float32(0.5), 0.5),
        (numpy.int64(-3), -3),
        (numpy.float16("inf"), "inf"),
        (Fraction(1, 4), 0.25),
        (Fraction(10**400), "<Fraction>"),
    ],
)
def test_numbers_of_libraries_are_numbers(value: Any, copied: Any) -> None:
    assert json.loads(encode([value])[0]) == [copied]


def test_a_text_stays_a_text() -> None:
    assert encode("Llamas “live”") == ("Llamas “live”", "text/plain")


def test_cycles_end() -> None:
    data = Data(1)
    data.y = {"again": [data]}
    assert json.loads(encode(data)[0]) == {"x": 1, "y": {"again": ["<cycle>"]}}


def test_the_same_value_twice_is_no_cycle() -> None:
    part = {"x": 1}
    assert json.loads(encode([part, part])[0]) == [part, part]


def test_depth_ends() -> None:
    value: Any = "end"
    for _ in range(sys.getrecursionlimit() * 2):
        value = [value]
    assert "<list>" in encode(value)[0]


def test_items_are_cut_and_the_cut_is_told() -> None:
    copied = json.loads(encode(list(range(10**6)))[0])
    assert (len(copied), copied[-1]) == (MAX_ITEMS + 1, f"… {10**6 - MAX_ITEMS} more")
    mapping = json.loads(encode_object({str(n): n for n in range(1000)}))
    assert mapping["…"] == f"{1000 - MAX_ITEMS} more"


def test_text_is_cut_once_for_all_parts() -> None:
    text, _ = encode("x" * (MAX_CHARACTERS + 5))
    assert text.endswith("x… (5 characters more)")
    many, _ = encode(["y" * MAX_CHARACTERS] * 100)
    assert len(many) < MAX_CHARACTERS + 100 * 50


def test_a_wide_tree_is_cut() -> None:
    tree: Any = 1
    for _ in range(7):
        tree = [tree] * 150
    assert len(encode(tree)[0]) < 1_000_000


def test_later_changes_do_not_reach_the_copy() -> None:
    value = {"a": [1]}
    text, _ = encode(value)
    value["a"].append(2)
    assert text == '{"a": [1]}'


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(json_values.filter(lambda value: not isinstance(value, str)))
def test_small_json_is_kept_as_it_is(value: Any) -> None:
    if _depth(value) < 8:
        assert json.loads(encode(value)[0]) == value


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)
