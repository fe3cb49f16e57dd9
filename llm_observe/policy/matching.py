"""Whether a call is meant: matchers of the settings against what is known of a call.

A matcher's texts are patterns (`llm_observe.policy.globs`). All that it gives must fit; what it leaves
empty fits anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import TypeVar

from llm_observe.policy.globs import glob
from llm_observe.settings.model import Matcher, TraceMatcher

Matches = Callable[["Subject"], bool]
Want = tuple[str, str]
"""A field of a `Subject`; with ``attributes`` the key of one."""
Known = tuple[str | None, ...]
"""Values for so many wants. What is not known is empty; None: there is no such attribute."""

_Of = TypeVar("_Of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is known of a call, or of a trace by its root. What is not known is empty."""

    service: str = ""
    provider: str = ""
    model: str = ""
    session: str = ""
    user: str = ""
    route: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def compile_matcher(matcher: Matcher | TraceMatcher) -> Matches:
    """The matcher as a function, made once per settings. Pure, any thread."""
    return _all_of([_test(_of_subject(want), pattern) for want, pattern in patterns_of(matcher)])


def compile_for(matcher: Matcher | TraceMatcher, wants: Sequence[Want]) -> Callable[[Known], bool]:
    """The same for whom only these values are known, in this order."""
    given = patterns_of(matcher)
    return _all_of([_test(itemgetter(wants.index(want)), pattern) for want, pattern in given])


def patterns_of(matcher: Matcher | TraceMatcher) -> Iterator[tuple[Want, str]]:
    """What a matcher looks at, and with which pattern."""
    for name in _FIELDS:
        if pattern := getattr(matcher, name, ""):
            yield (name, ""), pattern
    for key, pattern in matcher.attributes.items():
        yield ("attributes", key), pattern


_FIELDS = ("service", "provider", "model", "session", "user", "route")


def _of_subject(want: Want) -> Callable[[Subject], str | None]:
    name, key = want
    return (lambda subject: subject.attributes.get(key)) if key else attrgetter(name)


def _test(value: Callable[[_Of], str | None], pattern: str) -> Callable[[_Of], bool]:
    fits = glob(pattern)
    return lambda subject: (text := value(subject)) is not None and fits(text)


def _all_of(tests: Sequence[Callable[[_Of], bool]]) -> Callable[[_Of], bool]:
    if len(tests) == 1:
        return tests[0]
    return lambda subject: all(test(subject) for test in tests)
