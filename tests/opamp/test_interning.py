from __future__ import annotations

from llm_observe.opamp.interning import MAX_BYTES, MAX_VALUES, Interned


def test_equal_bytes_give_the_same_value() -> None:
    interned = Interned()
    first = interned.value("a", b"x" * 100, lambda: [1])
    assert interned.value("a", bytes(bytearray(b"x" * 100)), lambda: [2]) is first
    assert interned.value("b", b"x" * 100, lambda: [3]) == [3]


def test_what_is_kept_is_bounded_in_number_and_size() -> None:
    interned = Interned()
    large = bytes(MAX_BYTES + 1)
    assert interned.value("a", large, lambda: [1]) is not interned.value("a", large, lambda: [1])
    oldest = interned.value("a", b"0", lambda: ["0"])
    for number in range(1, MAX_VALUES):
        interned.value("a", str(number).encode(), list)
        interned.value("a", b"0", lambda: ["not kept"])  # in use: not the oldest
    assert len(interned) == MAX_VALUES
    interned.value("a", b"one more", list)
    assert len(interned) == MAX_VALUES
    assert interned.value("a", b"0", list) is oldest
