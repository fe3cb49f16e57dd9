import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_observe.policy.truncation import SHORTEST, shorten


def test_a_text_is_cut_and_says_how_much_is_missing() -> None:
    assert shorten("a" * 200, 100) == "a" * 76 + "… (124 more)"
    assert shorten("a" * 100, 100) == "a" * 100
    assert shorten("a" * 1000, 0) == "a" * 1000


def test_json_stays_json_of_the_same_shape_and_long_strings_pay_first() -> None:
    messages = [{"role": "user", "content": "x" * 5000}, {"role": "assistant", "content": "short"}]
    short = shorten(json.dumps(messages), 500)
    assert len(short) <= 500
    first, second = json.loads(short)
    assert (first["role"], second) == ("user", messages[1])
    assert first["content"].startswith("xxx")
    assert first["content"].endswith("more)")
    assert len(short) > 400  # no more is lost than must be


def test_json_whose_shape_alone_is_too_long_says_what_it_was() -> None:
    assert json.loads(shorten(json.dumps(list(range(1000))), 100)) == {"truncated": "1000 items"}


def test_what_only_looks_like_json_is_cut_as_text() -> None:
    assert shorten("[" + "a" * 500, 100).startswith("[aaa")
    assert len(shorten("[" * 100_000, 100)) <= 100


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=200),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5)
    ),
    max_leaves=15,
)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


@given(values, st.integers(SHORTEST, 600))
def test_it_fits_and_keeps_its_shape(value: Any, most: int) -> None:
    text = json.dumps(value, ensure_ascii=False)
    short = shorten(text, most)
    assert len(short) <= most
    if text[:1] in "[{":
        read = json.loads(short)
        assert shape(read) == shape(value) or list(read) == ["truncated"]
