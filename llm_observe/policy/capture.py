"""What may leave at which capture level: one table, and which level holds for which call.

Three verdicts: keep as it is, mask (detectors run over it first), drop. What detectors cannot
look into (images, vectors, logs) is dropped below ``full``. Free text that the app itself attached
(tags, metadata, parameters) is masked where it is let through at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache, partial
from typing import NamedTuple

from llm_observe.conventions import Kind
from llm_observe.policy.matching import Subject, compile_matcher
from llm_observe.settings.model import Capture, CaptureLevel, CaptureRule, Matcher


class Verdict(Enum):
    """What happens to a value before it leaves."""

    KEEP = auto()
    MASK = auto()
    DROP = auto()


_KEEP, _MASK, _DROP = Verdict.KEEP, Verdict.MASK, Verdict.DROP
_STRICTNESS = (_KEEP, _MASK, _DROP)

#                     off    metadata redacted full
_PLAIN = dict(zip(CaptureLevel, (_KEEP, _KEEP, _KEEP, _KEEP), strict=True))
_CONTEXT = dict(zip(CaptureLevel, (_DROP, _KEEP, _KEEP, _KEEP), strict=True))
_LABEL = dict(zip(CaptureLevel, (_DROP, _MASK, _MASK, _KEEP), strict=True))
_CONTENT = dict(zip(CaptureLevel, (_DROP, _DROP, _MASK, _KEEP), strict=True))
_OPAQUE = dict(zip(CaptureLevel, (_DROP, _DROP, _DROP, _KEEP), strict=True))

_TABLE: dict[Kind, dict[CaptureLevel, Verdict]] = dict.fromkeys(Kind, _CONTENT) | {
    Kind.CORE: _PLAIN,
    Kind.METADATA: _CONTEXT,
    Kind.LABEL: _LABEL,
    Kind.LOG: _OPAQUE,
    Kind.MEDIA: _OPAQUE,
    Kind.EMBEDDING: _OPAQUE,
}

PARTS: Mapping[str, Kind] = {
    "system": Kind.SYSTEM,
    "input": Kind.INPUT,
    "output": Kind.OUTPUT,
    "reasoning": Kind.REASONING,
    "tool_arguments": Kind.TOOL_ARGUMENTS,
    "tool_results": Kind.TOOL_RESULT,
    "documents": Kind.DOCUMENT,
}
"""Parts of a call that may have a level of their own, by their key in the settings."""

MIXED = tuple(PARTS.values())
"""What a text may hold that is the input or output of an unknown program: any part of a call."""

_OWN = frozenset({Kind.CORE, Kind.METADATA, Kind.LABEL, *PARTS.values()})
"""Kinds whose level is that of the call or of their part. All others may quote any part."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The capture level of one call, and of those of its parts that have another one."""

    level: CaptureLevel
    parts: tuple[tuple[Kind, CaptureLevel], ...] = ()

    def of(self, kind: Kind) -> CaptureLevel:
        """The level of a kind. What may quote any part has the lowest level of all."""
        if kind in _OWN:
            return dict(self.parts).get(kind, self.level)
        return lowest(self.level, *(level for _, level in self.parts))

    def verdict(self, *kinds: Kind) -> Verdict:
        """What happens to a value of this kind; of several kinds at once: the strictest."""
        verdicts = _verdicts(self)
        if len(kinds) == 1:
            return verdicts[kinds[0]]
        return max((verdicts[kind] for kind in kinds), key=_STRICTNESS.index)

    @property
    def whole(self) -> bool:
        """Whether everything leaves as it is."""
        return self.level is CaptureLevel.FULL and not self.parts


@lru_cache(maxsize=256)
def _verdicts(levels: Levels) -> Mapping[Kind, Verdict]:
    return {kind: verdict(kind, levels.of(kind)) for kind in Kind}


class Clocks(NamedTuple):
    """The present, in seconds: since the machine started (time asleep counts), and since 1970."""

    boot: float
    wall: float

    def reached(self, end: Clocks) -> bool:
        """Whether an end has come, by either clock."""
        return self.boot >= end.boot or self.wall >= end.wall


class ActiveGrant(NamedTuple):
    """A grant that is running, and when it ends by either clock."""

    name: str
    match: Matcher
    level: CaptureLevel
    ends: Clocks

    def over(self, now: Clocks) -> bool:
        """Whether it has ended by either clock."""
        return now.reached(self.ends)


class CapturePolicy:
    """Which levels hold for which call. Made once per settings; pure, any thread.

    Args:
        capture: The settings. Of its grants none counts by itself.
        grants: Those that are running.
    """

    def __init__(self, capture: Capture, grants: Iterable[ActiveGrant] = ()) -> None:
        self._base = _base(capture)
        self._grants = [(grant.level, compile_matcher(grant.match)) for grant in grants]
        rules = sorted(capture.rules.items(), key=lambda item: (item[1].order, item[0]))
        self._rules = [
            (compile_matcher(rule.match), _lowered(self._base, rule)) for _, rule in rules
        ]

    @property
    def strictest(self) -> CaptureLevel:
        """The lowest level that any part of any call may have."""
        every = (self._base, *(levels for _, levels in self._rules))
        return lowest(*(level for x in every for level in (x.level, *dict(x.parts).values())))

    def highest(self, kind: Kind) -> CaptureLevel:
        """The highest level that a kind may have, in any call."""
        every = (self._base, *(levels for _, levels in self._rules))
        granted = (level for level, _ in self._grants)
        return highest(*(levels.of(kind) for levels in every), *granted)

    @property
    def depends_on_call(self) -> bool:
        """Whether calls may differ; if not, every call has the levels of `Subject()`."""
        return bool(self._rules or self._grants)

    def levels(self, subject: Subject) -> Levels:
        """The levels of a call."""
        found = next((levels for matches, levels in self._rules if matches(subject)), self._base)
        for level, matches in self._grants:
            if matches(subject):
                found = _each(found, partial(highest, level))
        return found


def lowest(*levels: CaptureLevel) -> CaptureLevel:
    """The one that records least."""
    return min(levels, key=lambda level: level.rank)


def highest(*levels: CaptureLevel) -> CaptureLevel:
    """The one that records most."""
    return max(levels, key=lambda level: level.rank)


def _each(levels: Levels, change: Callable[[CaptureLevel], CaptureLevel]) -> Levels:
    parts = tuple((kind, change(level)) for kind, level in levels.parts)
    return Levels(change(levels.level), parts)


def _base(capture: Capture) -> Levels:
    given = ((kind, getattr(capture, name)) for name, kind in PARTS.items())
    parts = tuple((kind, level) for kind, level in given if level is not None)
    return Levels(capture.level, parts)


def _lowered(base: Levels, rule: CaptureRule) -> Levels:
    parts = tuple((kind, lowest(level, rule.level)) for kind, level in base.parts)
    return Levels(rule.level, parts)


def verdict(kind: Kind, level: CaptureLevel) -> Verdict:
    """What happens to a value of this kind at this level."""
    return _TABLE[kind][level]


def may_show_content(capture: Capture) -> bool:
    """Whether any part of any call may leave, masked or not. Every grant is taken to run."""
    parts = (getattr(capture, name) for name in PARTS)
    rules = (rule.level for rule in capture.rules.values())
    grants = (grant.level for grant in capture.grants.values())
    return not _SHOWING.isdisjoint((capture.level, *parts, *rules, *grants))


_SHOWING = frozenset(level for level, found in _CONTENT.items() if found is not _DROP)
