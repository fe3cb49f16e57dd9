"""What two settings allow both: the settings to hold while a change is not yet, or not wholly, in force.

The result never records or shows more than either of the two, and is itself a settings value, so
that what holds can be told. It may allow less than both where rules of the two cross.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from llm_observe.policy.capture import PARTS, ActiveGrant, Clocks, lowest
from llm_observe.policy.grants import deadline
from llm_observe.settings.model import (
    Action,
    Capture,
    CaptureLevel,
    CaptureRule,
    DetectorChoice,
    Grant,
    PatternRule,
    Redaction,
)

_ACTIONS: tuple[Action, ...] = ("hash", "mask", "drop")
"""From what tells most of a find to what tells least."""

Value = TypeVar("Value")


def capture_of_both(one: Capture, other: Capture) -> Capture:
    """The capture settings that allow what both allow, at most."""
    if one == other:
        return one
    level = lowest(one.level, other.level)
    parts = {name: _part(one, other, name) for name in PARTS}
    floor = lowest(level, *(part for part in parts.values() if part is not None))
    return Capture(
        level=level,
        rules=dict(_rules(one, other, floor)),
        grants=dict(_grants(one, other)),
        max_chars=min(filter(None, (one.max_chars, other.max_chars)), default=0),
        **parts,
    )


def redaction_of_both(one: Redaction, other: Redaction) -> Redaction:
    """The redaction settings that take out what either takes out."""
    if one == other:
        return one
    return Redaction(
        detectors=dict(_detectors(one, other)),
        patterns=dict(_patterns(one.patterns, other.patterns)),
        allow=tuple(pattern for pattern in one.allow if pattern in other.allow),
        hash_key=one.hash_key if one.hash_key == other.hash_key else "",
    )


def grants_of_both(
    one: Iterable[ActiveGrant], other: Iterable[ActiveGrant]
) -> tuple[ActiveGrant, ...]:
    """The running grants that stand in both, each for the calls, the level and the time of both."""
    known = {grant.name: grant for grant in other}
    return tuple(
        grant._replace(
            level=lowest(grant.level, twin.level), ends=Clocks(*map(min, grant.ends, twin.ends))
        )
        for grant in one
        if (twin := known.get(grant.name)) is not None and twin.match == grant.match
    )


def _grants(one: Capture, other: Capture) -> Iterator[tuple[str, Grant]]:
    for name, grant in one.grants.items():
        twin = other.grants.get(name)
        if twin is not None and twin.match == grant.match:
            yield (
                name,
                replace(
                    grant,
                    level=lowest(grant.level, twin.level),
                    until=min(grant.until, twin.until, key=deadline),
                    longest_s=min(grant.longest_s, twin.longest_s),
                ),
            )


def _part(one: Capture, other: Capture, name: str) -> CaptureLevel | None:
    first, second = getattr(one, name), getattr(other, name)
    if first is None and second is None:
        return None
    return lowest(first or one.level, second or other.level)


def _rules(one: Capture, other: Capture, floor: CaptureLevel) -> Iterator[tuple[str, CaptureRule]]:
    """Every rule, lowered to what the rest allows; the one that allows least comes first."""
    for side, capture in (("", one), ("~", other)):
        for name, rule in capture.rules.items():
            level = lowest(rule.level, floor)
            yield f"{name}{side}", replace(rule, level=level, order=level.rank)


def _detectors(one: Redaction, other: Redaction) -> Iterator[tuple[str, DetectorChoice]]:
    for name in one.detectors.keys() | other.detectors.keys():
        choices = [side.detectors.get(name) for side in (one, other)]
        enabled = any(choice is None or choice.enabled for choice in choices)
        actions = [choice.action if choice else "mask" for choice in choices if _counts(choice)]
        yield name, DetectorChoice(enabled=enabled, action=_strictest(actions))


def _counts(choice: DetectorChoice | None) -> bool:
    return choice is None or choice.enabled


def _strictest(actions: list[Action]) -> Action:
    return max(actions, key=_ACTIONS.index, default="mask")


def _patterns(
    one: Mapping[str, PatternRule], other: Mapping[str, PatternRule]
) -> Iterator[tuple[str, PatternRule]]:
    yield from one.items()
    for name, rule in other.items():
        if one.get(name) != rule:
            yield (f"{name}~" if name in one else name), rule
