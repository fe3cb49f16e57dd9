"""The capture level applied to values, and to the attributes of other instrumentors' spans.

Below ``full``, an attribute that the table of conventions does not know is dropped on a span
about LLM work. Spans about anything else keep what the table does not know: they are outside the
guarantee. Known content is scrubbed on every span, exception text included, since an error often
quotes the prompt and travels up to spans that know nothing of LLMs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llm_observe.conventions import SKELETON_NAMES, SKELETONS, Kind, is_llm, kind_of
from llm_observe.policy.capture import Verdict, verdict
from llm_observe.policy.redaction import default
from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.gate import gate

_BRANCHES = frozenset({"parts", "content", "tool_calls", "messages"})
_LONGEST_NAME = 64


class Filter:
    """Values in, what may leave out. ``dropped`` tells whether a fault cost any content."""

    def __init__(self, level: CaptureLevel) -> None:
        self.level = level
        self.dropped = False
        self._seen: dict[str, Any] = {}  # a prompt stands in several attributes, masked once

    def shows(self, kind: Kind) -> bool:
        """Whether a value of this kind leaves in any form; saves making one that does not."""
        return verdict(kind, self.level) is not Verdict.DROP

    def __call__(self, kind: Kind, value: Any) -> Any:
        """The value, its masked copy, or None."""
        rule = verdict(kind, self.level)
        if rule is Verdict.KEEP or value is None:
            return value
        return self._masked(value) if rule is Verdict.MASK else None

    def _masked(self, value: Any) -> Any:
        if not isinstance(value, str):
            return self._redacted(value)
        if value not in self._seen:
            self._seen[value] = self._redacted(value)
        return self._seen[value]

    def _redacted(self, value: Any) -> Any:
        try:
            return default().value(value)
        except Exception as error:  # noqa: BLE001  # content fails closed, the span goes on
            self.dropped = True
            gate.report(error)
            return None


def scrub(
    attributes: Mapping[str, Any], level: CaptureLevel, *, llm: bool | None = None
) -> dict[str, Any]:
    """The attributes that may leave. ``llm``: about LLM work; None: found out from the keys."""
    if level is CaptureLevel.FULL:
        return dict(attributes)
    about_llm = is_llm(attributes) if llm is None else llm
    keep = Filter(level)
    scrubbed = {key: _scrubbed(key, value, keep, about_llm) for key, value in attributes.items()}
    return {key: value for key, value in scrubbed.items() if value is not None}


def scrub_event(attributes: Mapping[str, Any], level: CaptureLevel, *, llm: bool) -> dict[str, Any]:
    """The attributes of a span event or link that may leave; ``llm``: of its span."""
    return scrub(attributes, level, llm=llm)


def scrub_status(description: str | None, level: CaptureLevel) -> str | None:
    """A status description that may leave."""
    kept = Filter(level)(Kind.ERROR, description)
    return None if kept is None else str(kept)


def _scrubbed(key: str, value: Any, keep: Filter, llm: bool) -> Any:
    kind = kind_of(key) if llm or "." in key else None  # elsewhere a bare name means anything
    if kind is None:
        return None if llm else value
    if key in SKELETONS and keep.level is CaptureLevel.METADATA:
        return _skeleton(value)
    return keep(kind, value)


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
