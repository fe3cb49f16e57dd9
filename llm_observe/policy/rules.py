"""From the settings to a redactor: which rules there are here, and what is wrong with those asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from llm_observe.errors import Problem
from llm_observe.policy import national_ids
from llm_observe.policy.detectors import DETECTORS
from llm_observe.policy.finding import Detector, Span
from llm_observe.policy.prefilter import compiled, re2
from llm_observe.policy.redaction import Redactor, Rule
from llm_observe.settings.documents import join_path
from llm_observe.settings.model import PatternRule, Redaction

_PRIVACY = "pip install 'llm-observe[privacy]'"
_NAMED_IDS = frozenset(scheme.name for scheme in national_ids.SCHEMES)

MOST_PATTERNS = 100


def usual() -> tuple[Detector, ...]:
    """The detectors that run unless they are switched off."""
    return (*national_ids.detectors(telling=True), *DETECTORS)


def available() -> tuple[str, ...]:
    """Names of all detectors of this machine."""
    return tuple(dict.fromkeys(detector.name for detector in (*usual(), *_by_name_only())))


def problems(redaction: Redaction) -> Iterator[Problem]:
    """What of this cannot be done here."""
    for name, choice in redaction.detectors.items():
        if choice.enabled and name not in available():
            yield Problem(f"redaction.detectors.{name}", *_why_not(name))
    if len(redaction.patterns) > MOST_PATTERNS:
        found = f"{len(redaction.patterns)} patterns"
        yield Problem("redaction.patterns", found, f"at most {MOST_PATTERNS}")
    for name, rule in redaction.patterns.items():
        path = join_path(("redaction", "patterns", name, "pattern"))
        if rule.enabled and (why := _pattern_problem(rule.pattern)):
            yield Problem(path, *why)


def redactor(redaction: Redaction, key: bytes | None) -> Redactor:
    """The rules made ready. Those that `problems` names are left out.

    Args:
        redaction: The settings.
        key: What ``hash_key`` refers to; None: there is none here.
    """
    rules = [*_detectors(redaction), *_patterns(redaction)]
    return Redactor(rules, allow=redaction.allow, key=key)


@cache
def default() -> Redactor:
    """The redactor of settings that say nothing; made when it is first needed."""
    return redactor(Redaction(), None)


def _detectors(redaction: Redaction) -> Iterator[Rule]:
    chosen, unasked = redaction.detectors, usual()
    for detector in (*unasked, *_by_name_only()):
        choice = chosen.get(detector.name)
        if choice.enabled if choice else detector in unasked:
            yield Rule(*detector, choice.action if choice else "mask")


def _patterns(redaction: Redaction) -> Iterator[Rule]:
    for name, rule in redaction.patterns.items():
        if rule.enabled and not _pattern_problem(rule.pattern):
            yield Rule(name, rule.pattern, _pattern_finder(rule), rule.action)


def _pattern_finder(rule: PatternRule) -> Callable[[str], Iterator[Span]]:
    pattern = compiled(rule.pattern)
    group = min(pattern.groups, 1)

    def find(text: str) -> Iterator[Span]:
        for match in pattern.finditer(text):
            start, end = match.span(group)
            if end > start >= 0:
                yield start, end

    return find


def _pattern_problem(pattern: str) -> tuple[str, str] | None:
    module = re2()
    if module is None:
        return "a pattern, but RE2 is not installed here", _PRIVACY
    try:
        matches_nothing = compiled(pattern).search("") is not None
    except module.error as error:
        return f"{pattern!r}: {_said(error)}", "a regular expression that RE2 reads"
    if matches_nothing:
        return f"{pattern!r}, which matches the empty text", "a pattern that matches something"
    return None


def _said(error: BaseException) -> str:
    words = error.args[0] if error.args else ""
    return words.decode(errors="replace") if isinstance(words, bytes) else str(words)


def _why_not(name: str) -> tuple[str, str]:
    if name in _NAMED_IDS:
        return "a detector that is not installed here", _PRIVACY
    return "an unknown detector", f"one of {', '.join(available())}"


def _by_name_only() -> tuple[Detector, ...]:
    return national_ids.detectors(telling=False)
