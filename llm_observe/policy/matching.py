"""Whether a call is meant: matchers of the settings against what is known of a call.

A matcher's texts are patterns (`llm_observe.policy.globs`). All that it gives must fit; what it leaves
empty fits anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from llm_observe.policy.globs import glob
from llm_observe.settings.model import Matcher, TraceMatcher

Matches = Callable[["Subject"], bool]


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
    tests = [
        _field_test(name, pattern) for name in _FIELDS if (pattern := getattr(matcher, name, ""))
    ]
    tests += [_attribute_test(key, pattern) for key, pattern in matcher.attributes.items()]
    return lambda subject: all(test(subject) for test in tests)


_FIELDS = ("service", "provider", "model", "session", "user", "route")


def _field_test(name: str, pattern: str) -> Matches:
    value, fits = attrgetter(name), glob(pattern)
    return lambda subject: fits(value(subject))


def _attribute_test(key: str, pattern: str) -> Matches:
    fits = glob(pattern)
    return lambda subject: key in subject.attributes and fits(subject.attributes[key])
