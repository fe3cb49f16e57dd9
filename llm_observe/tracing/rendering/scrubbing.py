"""The capture level applied to values, and to the attributes of other instrumentors' spans.

Below ``full``, an attribute that the table of conventions does not know is dropped on a span
about LLM work. Spans about anything else keep what the table does not know: they are outside the
guarantee. Known content is scrubbed on every span, exception text included, since an error often
quotes the prompt and travels up to spans that know nothing of LLMs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from llm_observe.conventions import SKELETON_NAMES, SKELETONS, Kind, is_llm, kind_of
from llm_observe.policy.capture import MIXED, Levels, Verdict
from llm_observe.policy.redaction import Redactor, Seen
from llm_observe.policy.rules import default
from llm_observe.policy.truncation import shorten
from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.gate import gate

_BRANCHES = frozenset({"parts", "content", "tool_calls", "messages"})
_LONGEST_NAME = 64
_MOST_KEYS = 4096
_BRIEF = frozenset({Kind.CORE, Kind.METADATA})


class Filter:
    """Values of one span in, what may leave out.

    Args:
        by: The capture level, or levels where parts of a call have their own.
        redactor: Gives what masks, once something must be; the usual detectors if not given.
        most: Characters of one value; 0 for no bound.
    """

    def __init__(
        self,
        by: CaptureLevel | Levels,
        redactor: Callable[[], Redactor] = default,
        most: int = 0,
    ) -> None:
        self.levels = by if isinstance(by, Levels) else Levels(by)
        self.level = self.levels.level
        self.dropped = False
        """Whether a fault cost any content."""
        self._redactor, self._most = redactor, most
        self._masks: dict[str, Any] = {}  # a prompt stands in several attributes, masked once
        self._seen: Seen | None = None

    @property
    def idle(self) -> bool:
        """Whether every value leaves as it came."""
        return self.levels.whole and not self._most

    def shows(self, *kinds: Kind) -> bool:
        """Whether a value of this kind leaves in any form; saves making one that does not."""
        return self.levels.verdict(*kinds) is not Verdict.DROP

    def __call__(self, kinds: Kind | tuple[Kind, ...], value: Any) -> Any:
        """The value, its masked or shortened copy, or None. Of several kinds the strictest counts."""
        several = kinds if isinstance(kinds, tuple) else (kinds,)
        return self.under(self.levels.verdict(*several), _BRIEF.issuperset(several), value)

    def under(self, rule: Verdict, brief: bool, value: Any) -> Any:
        """The value under a verdict that is known; ``brief``: of a kind that is never long."""
        if rule is Verdict.DROP or value is None:
            return None
        kept = self._masked(value) if rule is Verdict.MASK else value
        return self._shortened(kept) if self._most and not brief else kept

    def finds(self) -> dict[str, int]:
        """How many different things each rule found in the values so far."""
        if self._seen is None or not self._seen.finds:
            return {}
        return dict(sorted(Counter(rule for rule, _ in self._seen.finds).items()))

    def _masked(self, value: Any) -> Any:
        if not isinstance(value, str):
            return self._redacted(value)
        if value not in self._masks:
            self._masks[value] = self._redacted(value)
        return self._masks[value]

    def _redacted(self, value: Any) -> Any:
        try:
            if self._seen is None:
                self._seen = Seen()
            return self._redactor().value(value, self._seen)
        except Exception as error:  # noqa: BLE001  # content fails closed, the span goes on
            self.dropped = True
            gate.report(error)
            return None

    def _shortened(self, value: Any) -> Any:
        if isinstance(value, str):
            return shorten(value, self._most)
        if isinstance(value, Mapping):
            return {key: self._shortened(item) for key, item in value.items()}
        return [self._shortened(item) for item in value] if _is_list(value) else value


By = CaptureLevel | Filter
"""What may leave: under a level, or through a filter that the rest of the span shares."""


def filter_of(by: By) -> Filter:
    """The filter itself, or one for the level."""
    return by if isinstance(by, Filter) else Filter(by)


def scrub(attributes: Mapping[str, Any], by: By, *, llm: bool | None = None) -> dict[str, Any]:
    """The attributes that may leave. ``llm``: about LLM work; None: found out from the keys."""
    keep = filter_of(by)
    if keep.idle:
        return dict(attributes)
    about_llm = is_llm(attributes) if llm is None else llm
    fates, scrubbed = _fates(keep.levels, about_llm), {}
    for key, value in attributes.items():
        rule, brief, bare = fates[key]
        kept = _skeleton(value) if bare else keep.under(rule, brief, value)
        if kept is not None:
            scrubbed[key] = kept
    return scrubbed


def scrub_event(attributes: Mapping[str, Any], by: By, *, llm: bool) -> dict[str, Any]:
    """The attributes of a span event or link that may leave; ``llm``: of its span."""
    return scrub(attributes, by, llm=llm)


def scrub_status(description: str | None, by: By) -> str | None:
    """A status description that may leave."""
    kept = filter_of(by)(Kind.ERROR, description)
    return None if kept is None else str(kept)


class _Fate(NamedTuple):
    """What becomes of the values of one attribute key."""

    rule: Verdict
    brief: bool = False
    """They are never cut."""
    bare: bool = False
    """No more than their skeleton leaves."""


class _Fates(dict[str, _Fate]):
    """By key, found out when a key is first seen."""

    def __init__(self, levels: Levels, llm: bool) -> None:
        self._levels, self._llm = levels, llm

    def __missing__(self, key: str) -> _Fate:
        fate = self._of(key)
        if len(self) < _MOST_KEYS:
            self[key] = fate
        return fate

    def _of(self, key: str) -> _Fate:
        levels = self._levels
        kind = (
            kind_of(key) if self._llm or "." in key else None
        )  # elsewhere a bare name means anything
        if kind is None:
            return _Fate(
                Verdict.DROP if self._llm and not levels.whole else Verdict.KEEP, brief=True
            )
        kinds = _kinds(kind)
        rule = levels.verdict(*kinds)
        shown = levels.verdict(Kind.METADATA) is not Verdict.DROP
        bare = key in SKELETONS and rule is Verdict.DROP and shown
        return _Fate(rule, _BRIEF.issuperset(kinds), bare)


@lru_cache(maxsize=32)
def _fates(levels: Levels, llm: bool) -> _Fates:
    return _Fates(levels, llm)


def _kinds(kind: Kind) -> tuple[Kind, ...]:
    """What may be in it: the input or output of another program's call may hold any part."""
    return MIXED if kind in (Kind.INPUT, Kind.OUTPUT) else (kind,)


def _skeleton(value: Any) -> str | None:
    """Roles and shape of messages, without their words."""
    try:
        bare = _bare(json.loads(value) if isinstance(value, str) else value)
    except (ValueError, RecursionError):
        return None
    return json.dumps(bare) if bare else None


def _bare(node: Any) -> Any:
    if isinstance(node, Mapping):
        kept = {name: _bare_item(name, item) for name, item in node.items()}
        return {name: item for name, item in kept.items() if item is not None}
    return [_bare(item) for item in node if not isinstance(item, str)] if _is_list(node) else None


def _bare_item(name: str, item: Any) -> Any:
    if name in SKELETON_NAMES:
        return item if isinstance(item, str) and len(item) <= _LONGEST_NAME else None
    if name in _BRANCHES and (isinstance(item, Mapping) or _is_list(item)):
        return _bare(item)
    return None


def _is_list(node: Any) -> bool:
    return isinstance(node, list | tuple)
