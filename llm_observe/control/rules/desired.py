"""What is wanted: edits, scopes merged for an agent, keys it lacks, and what loosens capture.

Pure rules over documents. A document is a settings fragment: absent means no opinion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from llm_observe.control.rules import grants
from llm_observe.control.rules.model import ChangeView, Edit, Scope, Version
from llm_observe.errors import Problem, SettingsError
from llm_observe.settings.documents import (
    Fragment,
    diff,
    flatten,
    join_path,
    leaves,
    merge,
    nest,
    split_path,
    with_value,
    without,
)
from llm_observe.settings.model import PARTS, CaptureLevel

FIRST_KEYS = (
    "sampling.ratio",
    "capture.level",
    "destinations.*.enabled",
    "destinations.*.endpoint",
    "destinations.*.protocol",
    "destinations.*.signals",
    "destinations.*.headers.*",
    "destinations.*.compression",
    "destinations.*.timeout_s",
)
"""Keys of the first released schema: every agent of ours understands them. Never grows; a newer
key is sent to an agent of another schema only if it reports that key as being in force."""


MAX_DEPTH = 12
"""How deep a document may be nested, far beyond any key of ours."""
MAX_PATH = 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """The merged document of all scopes that match, and the newest version in it."""

    document: Mapping[str, Any]
    version: int
    since: float


def matches(scope: Scope, attributes: Mapping[str, Any]) -> bool:
    """Whether an agent with these identifying attributes is meant."""
    return all(attributes.get(name) == value for name, value in scope.selector.items())


def wanted(heads: Iterable[Version], attributes: Mapping[str, Any]) -> Wanted | None:
    """Merge the newest version of each matching scope; None where no scope ever matched.

    A version whose document is empty still counts: it takes back what was sent before.
    """
    found = sorted(
        (head for head in heads if matches(head.scope, attributes)),
        key=lambda head: (head.scope.priority, head.version),
    )
    if not found:
        return None
    document: dict[str, Any] = {}
    for head in found:
        document = merge(document, head.document)
    return Wanted(document, max(h.version for h in found), max(h.at for h in found))


def edited(current: Fragment, edit: Edit) -> dict[str, Any]:
    """The document after an edit; not yet validated.

    Raises:
        SettingsError: A path to unset that is not set here, an empty path, too deep a nesting.
    """
    document = dict(current if edit.document is None else edit.document)
    problems = [*_depth_problems(document, *edit.set.values())]
    problems = problems or [*_path_problems(document, edit)]
    if problems:
        raise SettingsError(problems)
    for path in edit.unset:
        document = without(document, path)
    for path, value in edit.set.items():
        for leaf, item in _leaves(path, value):
            document = with_value(document, leaf, item)
    return document


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        yield from leaves(value, split_path(path))
    else:
        yield path, value


def _depth_problems(*values: Any) -> Iterator[Problem]:
    """Found level by level, so that a hostile document cannot exhaust the stack."""
    level = list(values)
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _children(value)]
    if level:
        yield Problem("", "a deeper nesting", f"at most {MAX_DEPTH} levels")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _path_problems(document: Fragment, edit: Edit) -> Iterator[Problem]:
    for path in [*edit.set, *edit.unset]:
        names = split_path(path)
        if len(path) > MAX_PATH or len(names) > MAX_DEPTH:
            yield Problem(path[:80], "a longer path", f"at most {MAX_DEPTH} names")
        elif not all(names):
            yield Problem(path, "an empty name", "names separated by dots, as in sampling.ratio")
    known = flatten(document)
    for path in edit.unset:
        if not _present(path, known):
            here = ", ".join(sorted(known)) or "nothing"
            yield Problem(path, "a key that is not set in this scope", f"one that is: {here}")


def _present(path: str, known: Mapping[str, Any]) -> bool:
    return any(leaf == path or leaf.startswith(f"{path}.") for leaf in known)


def changes(before: Fragment, after: Fragment) -> list[ChangeView]:
    """The keys that differ, sorted by path."""
    return [ChangeView(c.path, c.before, c.after) for c in diff(before, after)]


def for_schema(
    document: Fragment, *, same_schema: bool, in_force: Fragment | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The part of a document that an agent understands, and the paths that are left out.

    Args:
        document: What is wanted.
        same_schema: Whether the agent reported the hash of our own schema.
        in_force: Its effective document, which shows more of what it knows.
    """
    if same_schema:
        return dict(document), ()
    flat = flatten(document)
    known = [*FIRST_KEYS, *map(_pattern, flatten(in_force or {}))]
    left_out = tuple(p for p in flat if not any(_like(p, pattern) for pattern in known))
    return nest({p: v for p, v in flat.items() if p not in left_out}), left_out


def _pattern(path: str) -> str:
    """A path that was seen in one destination is understood in every destination."""
    names = split_path(path)
    if names[0] == "destinations" and len(names) > 2:
        names = (names[0], "*", *names[2:])
    return join_path(names)


def _like(path: str, pattern: str) -> bool:
    names, wanted_names = split_path(path), split_path(pattern)
    return len(names) == len(wanted_names) and all(
        expected == "*" or fnmatchcase(name, expected)
        for name, expected in zip(names, wanted_names, strict=True)
    )


def loosens(before: Fragment, after: Fragment, in_force: Fragment | None) -> bool:
    """Whether an agent may record more content after than before.

    By the level, that of a part, a rule, or a grant that begins or is made wider. What is in force
    decides where the agent reported it. A level that is no longer set by us may fall back to
    anything the agent's own layers say, so taking back a level below ``full`` counts as loosening.
    """
    return before.get("capture") != after.get("capture") and (
        grants.loosened(before, after)
        or any(_raised(name, before, after, in_force) for name in ("level", *PARTS))
        or _rules_loosen(before, after, in_force)
    )


def _raised(name: str, before: Fragment, after: Fragment, in_force: Fragment | None) -> bool:
    old, new = _rank(before, name), _rank(after, name)
    if old == new:
        return False
    if new is None:
        level = None if name == "level" else _rank(after)
        left = _first(level, CaptureLevel.FULL.rank)
        return old is not None and old < max((left, *map(_level, _rules(after).values())))
    now = (_rank(in_force, name), _rank(in_force), old, _rank(before), CaptureLevel.METADATA.rank)
    return new > _first(*now)


def _rules_loosen(before: Fragment, after: Fragment, in_force: Fragment | None) -> bool:
    """Whether a rule of one side alone lets more through than what else may hold for its calls."""
    old, new = _rules(before), _rules(after)
    gone = [_level(rule) for name, rule in old.items() if not _same_calls(rule, new.get(name))]
    added = [
        _level(rule)
        for name, rule in new.items()
        if not _same_calls(rule, old.get(name)) or _level(rule) > _level(old[name])
    ]
    base = _first(_rank(in_force), _rank(before), CaptureLevel.METADATA.rank)
    least = min((base, *map(_level, old.values())))
    left = _known(_rank(in_force), _rank(after)) or [CaptureLevel.FULL.rank]
    parts = _known(*(_rank(after, name) for name in PARTS))
    most = max((*left, *parts, *map(_level, new.values())))
    return any(rank > least for rank in added) or any(rank < most for rank in gone)


def _capture(document: Fragment | None, name: str) -> Any:
    capture = (document or {}).get("capture")
    return capture.get(name) if isinstance(capture, Mapping) else None


def _rules(document: Fragment) -> Mapping[str, Mapping[str, Any]]:
    return _capture(document, "rules") or {}


def _rank(document: Fragment | None, name: str = "level") -> int | None:
    """The rank of a level in a document or report; None where there is none of ours."""
    level = _capture(document, name)
    try:
        return None if level is None else CaptureLevel(level).rank
    except ValueError:
        return None


def _same_calls(rule: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Whether two rules of a name mean the same calls, in the same place among the rules."""
    return other is not None and all(rule.get(key) == other.get(key) for key in ("match", "order"))


def _level(rule: Mapping[str, Any]) -> int:
    return CaptureLevel(rule.get("level", CaptureLevel.METADATA)).rank


def _first(*ranks: int | None) -> int:
    return _known(*ranks)[0]


def _known(*ranks: int | None) -> list[int]:
    return [rank for rank in ranks if rank is not None]
