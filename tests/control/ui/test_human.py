from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.control.ui import human


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "just now"), (-3, "just now"), (12, "12 s ago"), (59.9, "59 s ago"), (60, "1 min ago"),
     (7200, "2 h ago"), (200_000, "2 d ago")],
)  # fmt: skip
def test_an_age_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    assert human.age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (float("nan"), "–"), (0.0004, "0.4 ms"), (0.85, "850 ms"), (1.239, "1.24 s"),
     (123, "2 min 3 s")],
)  # fmt: skip
def test_a_duration_has_as_many_digits_as_matter(seconds: float | None, text: str) -> None:
    assert human.span(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (1234, "1,234"), (12_345, "12.3 k"), (4_500_000, "4.5 M"), (38.25, "38.2")],
)  # fmt: skip
def test_large_numbers_are_shortened(value: float | None, text: str) -> None:
    assert human.number(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "–"), (0, "0 B"), (1536, "1.5 KB"), (3 * 1024**2, "3.0 MB")]
)
def test_sizes_count_in_steps_of_1024(count: int | None, text: str) -> None:
    assert human.size(count) == text


def test_a_share_below_one_percent_does_not_look_like_none() -> None:
    assert [human.percent(x) for x in (0, 0.004, 0.5, 1, None)] == ["0 %", "0.4 %", "50 %", "100 %", "–"]  # fmt: skip


def test_lists_and_plurals_read_like_sentences() -> None:
    assert human.listing(["a"]) == "a"
    assert human.listing(["a", "b", "c"]) == "a, b and c"
    assert human.listing(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert human.plural(1, "agent") == "1 agent"
    assert human.plural(1200, "query", "queries") == "1,200 queries"
    assert human.sentence("it refused") == "It refused."
    assert human.sentence("") == ""


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_number_is_too_odd_to_be_shown(value: float) -> None:
    assert human.number(value)
    assert human.span(abs(value))
    assert human.percent(value)


def test_what_is_left_is_told_in_two_units() -> None:
    told = [human.left(seconds) for seconds in (-1, 0, 0.2, 59, 60, 252, 3600, 100_000)]
    assert told == [
        "ends now", "ends now", "1 s left", "59 s left", "1 min 0 s left", "4 min 12 s left",
        "1 h 0 min left", "1 d 3 h left",
    ]  # fmt: skip
