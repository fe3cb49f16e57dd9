"""Patterns with ``*`` (any characters) and ``?`` (one character); several separated by ``|``."""

from __future__ import annotations

from collections.abc import Callable

Fits = Callable[[str], bool]

LONGEST = 512
"""Characters of a text that are looked at; a longer text is compared by its beginning."""


def glob(pattern: str) -> Fits:
    """One of several patterns, as a function of a text. Most patterns are plain texts or beginnings."""
    patterns = pattern.split("|")
    plain = frozenset(each for each in patterns if not _wild(each))
    tests = [_test(each) for each in patterns if _wild(each)]
    if plain:
        tests.insert(0, lambda text: text[:LONGEST] in plain)
    if len(tests) == 1:
        return tests[0]
    return lambda text: any(fits(text) for fits in tests)


def _test(pattern: str) -> Fits:
    beginning = pattern[:-1]
    if pattern[-1] == "*" and len(beginning) <= LONGEST and not _wild(beginning):
        return lambda text: text.startswith(beginning)
    pieces = pattern.split("*")
    return lambda text: _fits(pieces, text[:LONGEST])


def _wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _fits(pieces: list[str], text: str) -> bool:
    """Whether a text consists of the pieces with anything between them.

    Each piece is taken where it first fits, which is right because a later place never fits
    more; so the time is at most the length of the text times that of the pattern.
    """
    if len(pieces) == 1:
        return len(text) == len(pieces[0]) and _at(pieces[0], text, 0)
    first, *middle, last = pieces
    end = len(text) - len(last)
    if not _at(first, text, 0) or end < len(first) or not _at(last, text, end):
        return False
    position = len(first)
    for piece in middle:
        position = _find(piece, text, position, end)
        if position < 0:
            return False
    return True


def _find(piece: str, text: str, position: int, end: int) -> int:
    """Where the piece ends that begins first; -1 if it does not fit before ``end``."""
    for start in range(position, end - len(piece) + 1):
        if _at(piece, text, start):
            return start + len(piece)
    return -1


def _at(piece: str, text: str, start: int) -> bool:
    if "?" not in piece:
        return text.startswith(piece, start)
    there = text[start : start + len(piece)]
    return len(there) == len(piece) and all(
        wanted in ("?", found) for wanted, found in zip(piece, there, strict=True)
    )
