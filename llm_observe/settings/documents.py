"""Documents as nested mappings: paths, flattening, canonical form, hash, difference.

A *fragment* is a nested mapping that holds some of the keys of a `Settings` document.
Absent means no opinion. A *path* is the dotted name of a leaf: ``sampling.ratio``,
``destinations.phoenix.endpoint``. A dot or backslash inside a name is written ``\\.`` or ``\\\\``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Fragment = Mapping[str, Any]


def join_path(parts: tuple[str, ...]) -> str:
    """Names to a dotted path."""
    return ".".join(part.replace("\\", "\\\\").replace(".", "\\.") for part in parts)


def split_path(path: str) -> tuple[str, ...]:
    """A dotted path to its names; the inverse of `join_path`."""
    names, name, escaped = [], "", False
    for char in path:
        if escaped:
            name, escaped = name + char, False
        elif char == "\\":
            escaped = True
        elif char == ".":
            names.append(name)
            name = ""
        else:
            name += char
    return (*names, name)


def leaves(fragment: Fragment, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """``(path, value)`` of each leaf, in the fragment's order. An empty mapping is no leaf."""
    for name, value in fragment.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*prefix, name))
        else:
            yield join_path((*prefix, name)), value


def flatten(fragment: Fragment) -> dict[str, Any]:
    """Path to value of every leaf."""
    return dict(leaves(fragment))


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    result: dict[str, Any] = {}
    for path, value in flat.items():
        result = with_value(result, path, value)
    return result


def with_value(fragment: Fragment, path: str, value: Any) -> dict[str, Any]:
    """A copy with one leaf set; a leaf in the way is replaced by a mapping."""
    head, *rest = split_path(path)
    if not rest:
        return {**fragment, head: value}
    child = fragment.get(head)
    child = child if isinstance(child, Mapping) else {}
    return {**fragment, head: with_value(child, join_path(tuple(rest)), value)}


def without(fragment: Fragment, path: str) -> dict[str, Any]:
    """A copy without a leaf or a whole branch; mappings that become empty go too."""
    head, *rest = split_path(path)
    copy = dict(fragment)
    child = copy.pop(head, None)
    if rest and isinstance(child, Mapping):
        remaining = without(child, join_path(tuple(rest)))
        if remaining:
            copy[head] = remaining
    elif rest and child is not None:
        copy[head] = child
    return copy


def merge(lower: Fragment, upper: Fragment) -> dict[str, Any]:
    """``upper`` over ``lower``, key by key; lists are replaced whole."""
    result = dict(lower)
    for name, value in upper.items():
        below = result.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[name] = merge(below, value) if both else value  # type: ignore[arg-type]  # narrowed by `both`
    return result


def canonical(fragment: Fragment) -> bytes:
    """One byte string per meaning: sorted keys, no blanks, no empty mappings."""
    return json.dumps(
        _pruned(fragment), sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=list
    ).encode()


def document_hash(fragment: Fragment) -> bytes:
    """SHA-256 of the canonical form: equal documents, equal hash, on every machine."""
    return hashlib.sha256(canonical(fragment)).digest()


@dataclass(frozen=True, slots=True)
class Change:
    """One leaf that differs; None where it was or is absent."""

    path: str
    before: Any
    after: Any


def diff(before: Fragment, after: Fragment) -> list[Change]:
    """The leaves that differ, sorted by path."""
    old, new = flatten(before), flatten(after)
    paths = sorted(p for p in old.keys() | new.keys() if _plain(old.get(p)) != _plain(new.get(p)))
    return [Change(p, old.get(p), new.get(p)) for p in paths]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _pruned(fragment: Fragment) -> dict[str, Any]:
    pruned = {
        name: _pruned(value) if isinstance(value, Mapping) else value
        for name, value in fragment.items()
    }
    return {name: value for name, value in pruned.items() if value != {}}
