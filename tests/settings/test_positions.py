"""Where a key stands in a document."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.settings.documents import leaves
from llm_observe.settings.positions import START, Positions, position_of

BODY = b"""\
# settings
capture:
  level: full

destinations:
  x.y: {signals: [traces, logs]}
"""


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("capture", 2, 1), ("capture.level", 3, 3), (r"destinations.x\.y", 6, 3),
        (r"destinations.x\.y.signals.1", 6, 27),
    ],
)  # fmt: skip
def test_a_key_stands_where_an_editor_shows_it(path: str, line: int, column: int) -> None:
    assert Positions(BODY).of(path) == (line, column)


def test_a_key_that_is_missing_stands_at_the_nearest_one_around_it() -> None:
    places = Positions(BODY)
    assert places.of("capture.grants.a.until") == (2, 1)
    assert places.of("sampling.ratio") == START
    assert places.of("") == START


def test_a_parser_says_where_it_stopped() -> None:
    with pytest.raises(yaml.YAMLError) as error:
        yaml.safe_load("a: 1\nb: [\n")
    assert position_of(error.value) == (3, 1)
    assert position_of(None) == START


names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=8)
documents = st.recursive(
    st.integers(), lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=12
).map(lambda value: value if isinstance(value, dict) else {"a": value})


@given(documents)
def test_at_the_place_of_a_leaf_its_name_begins(document: dict[str, object]) -> None:
    """Every leaf has a place of its own, in the order of the text."""
    body = yaml.safe_dump(document, sort_keys=False, default_flow_style=False)
    places = [Positions(body.encode()).of(path) for path, _ in leaves(document)]
    assert places == sorted(set(places))
