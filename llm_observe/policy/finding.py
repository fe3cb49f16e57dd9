"""How a detector looks: only around the places that a cheap hint shows.

A `Shape` has two patterns. The hint, which RE2 finds in one pass at no more than a few
microseconds per page, tells where a find may be. The pattern proper, which may look behind and
ahead, is then tried around those places alone, so that one find in a long text costs little.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from llm_observe.policy.prefilter import scanner

Span = tuple[int, int]
Match = re.Match[str]


class Detector(NamedTuple):
    """A name, which is also the mask, and the spans it finds in a text.

    ``hint`` is a pattern (RE2) that matches every text in which something can be found, and few
    others: all hints together are looked for in one pass, so that most texts cost nothing more.
    """

    name: str
    hint: str
    find: Callable[[str], Iterator[Span]]


class Shape:
    """What something looks like, and where to look for it. Linear in the text.

    Args:
        hint: Read by RE2 and by `re` alike. Every match of ``pattern`` begins at most ``before``
            characters before a match of it, and before the end of that.
        pattern: Bounded or possessive repeats only. Matches no empty text.
        before: Characters to look back.
        run: Of a character: whether a find that begins earlier may reach over it; what is so
            reached over is looked at too.
        spans: The finds in a match of the pattern; the match itself if not given. May reach beyond it.
    """

    def __init__(
        self,
        hint: str,
        pattern: str,
        *,
        before: int = 0,
        run: Callable[[str], bool] | None = None,
        spans: Callable[[Match], Iterable[Span]] | None = None,
    ) -> None:
        self.hint = hint
        self._pattern = re.compile(pattern)
        self._before, self._run = before, run
        self._spans = spans or _itself
        self._hints = scanner(hint)

    def __call__(self, text: str) -> Iterator[Span]:
        """The finds, from left to right."""
        return self._around(text, self._hints(text))

    def everywhere(self, text: str) -> Iterator[Span]:
        """The same finds without the help of hints: slow, and the yardstick of the tests."""
        return self._around(text, [(0, len(text))])

    def _around(self, text: str, hints: Iterable[Span]) -> Iterator[Span]:
        match, position = self._pattern.match, 0
        for start, end in hints:
            position = self._begin(text, start, position)
            while position < end:
                found = match(text, position)
                if found is None:
                    position += 1
                    continue
                position = found.end()
                for span in self._spans(found):
                    yield span
                    position = max(position, span[1])
            position = max(position, end)

    def _begin(self, text: str, start: int, least: int) -> int:
        begin = max(least, start - self._before)
        while self._run and begin > least and self._run(text[begin - 1]):
            begin -= 1
        return begin


def _itself(found: Match) -> Iterable[Span]:
    return (found.span(),)


def if_so(accept: Callable[[Match], bool], group: int = 0) -> Callable[[Match], Iterable[Span]]:
    """The finds of a pattern that needs a second look; ``group``: the part of it that is the find."""
    return lambda found: (found.span(group),) if accept(found) else ()


def detector(name: str, shape: Shape) -> Detector:
    """A detector of this shape."""
    return Detector(name, shape.hint, shape)
