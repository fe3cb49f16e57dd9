from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from llm_observe.policy.globs import LONGEST, glob

texts = st.text("ab?[]", max_size=8)


@given(st.text("ab?*", max_size=8), texts)
def test_a_pattern_fits_what_the_shell_would_fit(pattern: str, text: str) -> None:
    assert glob(pattern)(text) is fnmatchcase(text, pattern)


@given(st.lists(st.text("ab?*", max_size=5), min_size=1, max_size=3), texts)
def test_of_several_patterns_one_is_enough(patterns: list[str], text: str) -> None:
    together = glob("|".join(patterns))(text)
    assert together is any(glob(pattern)(text) for pattern in patterns)


def test_a_value_of_any_length_is_compared_by_its_beginning() -> None:
    assert glob("a*")("a" * 10_000_000)
    assert glob("*" + "a*" * 250 + "b")("a" * LONGEST + "b") is False
    assert glob("a" * LONGEST)("a" * LONGEST + "b")
    assert not glob("a" * (LONGEST + 1) + "*")("a" * (LONGEST + 2))
