from __future__ import annotations

from llm_observe.opamp.interning import MAX_BYTES, MAX_VALUES, Interned


def test_equal_bytes_give_the_same_value() -> None:
    interned = Interned()
    first = interned.value("a", b"x" * 100, lambda: [1], size=100)
    assert interned.value("a", bytes(bytearray(b"x" * 100)), lambda: [2], size=100) is first
    assert interned.value("b", b"x" * 100, lambda: [3], size=100) == [3]


def test_what_is_kept_is_bounded_in_number_and_size() -> None:
    interned = Interned()
    large: list[list[int]] = [
        interned.value("a", "large", list, size=MAX_BYTES + 1) for _ in range(2)
    ]
    assert large[0] is not large[1]
    oldest = interned.value("a", 0, lambda: ["0"], size=1)
    for number in range(1, MAX_VALUES):
        interned.value("a", number, list, size=1)
        interned.value("a", 0, lambda: ["not kept"], size=1)  # in use: not the oldest
    assert interned.count("a") == MAX_VALUES
    interned.value("a", "one more", list, size=1)
    assert interned.count("a") == MAX_VALUES
    assert interned.value("a", 0, list, size=1) is oldest


def test_many_values_of_one_kind_do_not_crowd_out_another() -> None:
    interned = Interned()
    kept: list[int] = interned.value("a", b"", list, size=1)
    for number in range(2 * MAX_VALUES):
        interned.value("b", number, list, size=1)
    assert interned.value("a", b"", list, size=1) is kept
