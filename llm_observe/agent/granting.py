"""Timed capture grants in this process: which run, and what is in force because of them.

The rules of a grant's life are in `llm_observe.policy.grants`; here they meet the settings that
hold, and the file that keeps them across restarts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llm_observe.policy.capture import ActiveGrant, Clocks
from llm_observe.policy.grants import Book
from llm_observe.settings.documents import flatten, merge
from llm_observe.settings.layers import Layer, Resolved, as_document
from llm_observe.settings.model import PARTS, CaptureLevel, Limits, Matcher

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class InForce:
    """Every key in force as a document, and where each came from, as they are reported."""

    document: Mapping[str, Any]
    sources: Mapping[str, Mapping[str, Any]]


def boot_id() -> str:
    """Names the machine's present start; empty where it has no name."""
    with suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return ""


def begun(
    resolved: Resolved, book: Book, now: Clocks, limits: Limits, *, allowed: bool = True
) -> tuple[Resolved, Book]:
    """The settings with the grants that run, and the book of them.

    ``allowed`` False: none may run here, and none is used up by it.
    """
    if not allowed:
        return running(resolved, Book()), book.under({}, now, 0.0)
    kept = book.under(resolved.settings.capture.grants, now, limits.grant_longest_s)
    return running(resolved, kept), kept


def running(resolved: Resolved, book: Book) -> Resolved:
    """The settings without the grants that do not run."""
    capture = resolved.settings.capture
    if not capture.grants:
        return resolved
    grants = {name: grant for name, grant in capture.grants.items() if name in book.running}
    settings = replace(resolved.settings, capture=replace(capture, grants=grants))
    document = as_document(settings)
    sources = {path: resolved.sources[path] for path in flatten(document)}
    return Resolved(settings, document, sources, resolved.capped)


def active(resolved: Resolved, book: Book, limits: Limits) -> tuple[ActiveGrant, ...]:
    """The grants that run, none above the local limit."""
    return book.active(resolved.settings.capture.grants, limits.capture_level)


def in_force(resolved: Resolved, book: Book) -> InForce:
    """What is reported: a grant that runs is a layer of its own, and one for every call is the level
    that holds, until its end.
    """
    document: dict[str, Any] = dict(resolved.document)
    sources: dict[str, dict[str, Any]] = {
        path: {"layer": str(source.layer), "since": source.since}
        for path, source in resolved.sources.items()
    }
    for name, run in book.running.items():
        told = {"layer": str(Layer.GRANT), "since": run.began.wall, "until": run.ends.wall}
        grant = resolved.settings.capture.grants.get(name)
        if grant is None:
            continue
        paths = flatten({"capture": {"grants": {name: document["capture"]["grants"][name]}}})
        sources |= dict.fromkeys(paths, told)
        for part in _raised(document, grant.level) if grant.match == Matcher() else ():
            document = merge(document, {"capture": {part: str(grant.level)}})
            sources[f"capture.{part}"] = told
    return InForce(document, sources)


def _raised(document: Mapping[str, Any], level: CaptureLevel) -> Iterator[str]:
    """The keys of levels that are below this one."""
    for name in ("level", *PARTS):
        value = document["capture"].get(name)
        if value is not None and CaptureLevel(value).rank < level.rank:
            yield name
