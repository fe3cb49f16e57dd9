"""Timed capture grants in documents and reports: asked for, under way, over. Pure.

A grant is a part of the settings document (``capture.grants.<id>``). The control plane only writes
it and reads what agents report; that it ends is each agent's own doing, server or no server.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any

from llm_observe.control.rules.arrived import number
from llm_observe.control.rules.model import ChangeResult, Version
from llm_observe.control.rules.record import AgentRecord
from llm_observe.errors import Problem, SettingsError
from llm_observe.settings.documents import Fragment, join_path, without
from llm_observe.settings.model import CaptureLevel

LONGEST_S = 604_800.0
"""Seconds that a grant may run, at most: a week."""


class GrantState(StrEnum):
    """How a grant stands."""

    RUNNING = "running"
    """At least one connected agent says that it is in force."""
    NOT_IN_FORCE = "not in force"
    """No connected agent says so: nobody is there, or nobody has answered yet, or all have ended it."""
    OVER = "over"
    """Its end has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantWish:
    """A grant that is asked for: either until a moment (with its time zone), or for some seconds.

    ``match`` names which calls are meant (see the settings); all, if it is empty. ``service``
    chooses the agents that are told of it; None: all.
    """

    service: str | None = None
    match: Mapping[str, Any] = field(default_factory=dict)
    level: str = str(CaptureLevel.FULL)
    for_s: float | None = None
    until: str = ""
    comment: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class GrantAgent:
    """A connected agent in which a grant runs: since when and until when, by its own word."""

    uid: str
    service: str
    since: float | None
    until: float | None


@dataclass(frozen=True, slots=True)
class GrantView:
    """One grant that is wanted, and where it is in force."""

    id: str
    state: GrantState
    service: str | None
    match: Mapping[str, Any]
    level: str
    until: float
    longest_s: float
    version: int
    """The version that began it."""
    at: float
    author: str
    comment: str
    agents: tuple[GrantAgent, ...] = ()


@dataclass(frozen=True, slots=True)
class GrantResult:
    """What became of a wish. In a preview the change has no version, and nothing was stored."""

    id: str
    until: float
    change: ChangeResult


def deadline(wish: GrantWish, now: float) -> float:
    """When the grant ends, in Unix seconds.

    Raises:
        SettingsError: Both or neither of ``until`` and ``for_s``, no time zone, in the past, or
            beyond `LONGEST_S`.
    """
    if bool(wish.until) == (wish.for_s is not None):
        found = "both until and for_s" if wish.until else "neither until nor for_s"
        raise SettingsError([Problem("until", found, "one of the two")])
    name = "until" if wish.until else "for_s"
    end = moment(wish.until) if wish.until else now + (wish.for_s or 0.0)
    if not now < end <= now + LONGEST_S:
        found = repr(wish.until or wish.for_s)
        raise SettingsError([Problem(name, found, "an end in the next 7 days")])
    return end


def moment(text: str) -> float:
    """A date and time with its time zone, as Unix seconds.

    Raises:
        SettingsError: It is none, or has no time zone.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        expected = "a date and time with a time zone, such as 2026-12-01T18:00:00Z"
        raise SettingsError([Problem("until", repr(text[:80]), expected)])
    return read.timestamp()


def written(at: float) -> str:
    """Unix seconds as the text that stands in the settings."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def values(name: str, wish: GrantWish, end: float, now: float) -> dict[str, Any]:
    """The keys to set, by path."""
    leaves: dict[tuple[str, ...], Any] = {
        ("level",): wish.level,
        ("until",): written(end),
        ("longest_s",): float(math.ceil((end - now) * 1000) / 1000),
    }
    for key, value in wish.match.items():
        if value not in ("", {}, None):
            leaves["match", key] = value
    return {path(name, *names): value for names, value in leaves.items()}


def path(name: str, *keys: str) -> str:
    """The path of a grant, or of a key in it."""
    return join_path(("capture", "grants", name, *keys))


def of(document: Fragment | None) -> Mapping[str, Any]:
    """The grants in a document, by id; what is no mapping is none."""
    capture = (document or {}).get("capture")
    grants = capture.get("grants") if isinstance(capture, Mapping) else None
    found = grants if isinstance(grants, Mapping) else {}
    return {name: grant for name, grant in found.items() if isinstance(grant, Mapping)}


def end_of(grant: Mapping[str, Any]) -> float:
    """When a grant in a document ends at the latest; 0 where that cannot be read."""
    try:
        return moment(str(grant.get("until", "")))
    except SettingsError:
        return 0.0


def over(document: Fragment, now: float) -> list[str]:
    """The ids of grants in a document whose end has passed."""
    return [name for name, grant in of(document).items() if end_of(grant) <= now]


def not_revived(document: Fragment, current: Fragment) -> Fragment:
    """A former document without the grants that are not in the present one: they have ended."""
    for name in of(document).keys() - of(current).keys():
        document = without(document, path(name))
    return document


def loosened(before: Fragment, after: Fragment) -> bool:
    """Whether a grant begins, or may record more or longer than before."""
    old = of(before)
    return any(_more(old.get(name), grant) for name, grant in of(after).items())


def _more(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> bool:
    if before is None or before.get("match", {}) != after.get("match", {}):
        return True
    longer = end_of(after) > end_of(before) or _longest(after) > _longest(before)
    return longer or _level(after).rank > _level(before).rank


def _longest(grant: Mapping[str, Any]) -> float:
    value = grant.get("longest_s", 3600.0)
    return float(value) if isinstance(value, int | float) else 3600.0


def _level(grant: Mapping[str, Any]) -> CaptureLevel:
    try:
        return CaptureLevel(grant.get("level", CaptureLevel.FULL))
    except ValueError:
        return CaptureLevel.FULL


def running(agents: Iterable[AgentRecord]) -> Mapping[str, list[GrantAgent]]:
    """By grant: the agents that say that it is in force. Each report is read once."""
    found: dict[str, list[GrantAgent]] = {}
    for record in agents:
        effective = record.effective
        for name in of(effective.document):
            said = partial(_said, effective.sources, path(name, "level"))
            here = GrantAgent(record.uid, record.service, said("since"), said("until"))
            found.setdefault(name, []).append(here)
    return found


def views(
    heads: Iterable[Version],
    origins: Mapping[str, Version],
    agents: Iterable[AgentRecord],
    now: float,
) -> list[GrantView]:
    """Every grant that stands in what is wanted, the one that ends first on top."""
    runs = running(agents)
    found = [
        _view(name, grant, head, origins.get(name, head), tuple(runs.get(name, ())), now)
        for head in heads
        for name, grant in of(head.document).items()
    ]
    return sorted(found, key=lambda view: (view.state is GrantState.OVER, view.until, view.id))


def _view(
    name: str,
    grant: Mapping[str, Any],
    head: Version,
    origin: Version,
    runs: tuple[GrantAgent, ...],
    now: float,
) -> GrantView:
    end = end_of(grant)
    state = GrantState.RUNNING if runs else GrantState.NOT_IN_FORCE
    return GrantView(
        name, GrantState.OVER if end <= now else state, head.scope.service, grant.get("match", {}),
        str(_level(grant)), end, _longest(grant), origin.version, origin.at, origin.author,
        origin.comment, runs,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FullCapture:
    """Whether an agent records anything as it is, and when that ends by itself (None: it does not)."""

    on: bool = False
    until: float | None = None


def full_capture(record: AgentRecord) -> FullCapture:
    """What an agent's own report says of level ``full``, for any part, rule or grant."""
    effective, full = record.effective, str(CaptureLevel.FULL)
    capture = (effective.document or {}).get("capture")
    if not isinstance(capture, Mapping):
        return FullCapture()
    ends: list[float | None] = [
        _said(effective.sources, join_path(("capture", name)), "until")
        for name, value in capture.items()
        if value == full
    ]
    ends += [None for rule in _inner(capture, "rules") if rule.get("level") == full]
    ends += [
        _said(effective.sources, path(name, "level"), "until") or end_of(grant)
        for name, grant in of(effective.document).items()
        if grant.get("level") == full
    ]
    known = [end for end in ends if end is not None]
    lasting = len(known) < len(ends)
    return FullCapture(bool(ends), None if lasting or not known else max(known))


def _inner(capture: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    found = capture.get(name)
    for value in found.values() if isinstance(found, Mapping) else ():
        if isinstance(value, Mapping):
            yield value


def _said(sources: Mapping[str, Any], key: str, time: str) -> float | None:
    """Since or until when a key is as it is, by an agent's own word."""
    source = sources.get(key)
    return number(source.get(time)) if isinstance(source, Mapping) else None
