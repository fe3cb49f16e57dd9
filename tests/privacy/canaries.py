"""Words that tell where they came from, and what the settings say about each: the oracle.

Written from the documentation of the settings, not from the code that it judges, and shares nothing
with it but the names of keys.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

LEVELS = ("off", "metadata", "redacted", "full")
PARTS = ("system", "input", "output", "reasoning", "tool_arguments", "tool_results", "documents")

Flavour = Literal["plain", "mail", "code"]
_PREFIX: Mapping[Flavour, str] = {"plain": "zq", "mail": "mq", "code": "cq"}
_TOKEN = re.compile(rb"[zmc]q[a-y]{6}z")
CODE_PATTERN = "cq[a-y]{6}z"
"""A pattern of one's own that finds the flavour ``code``."""


@dataclass(frozen=True)
class Where:
    """Whose content a canary is, for matchers."""

    model: str = ""
    session: str = ""


@dataclass(frozen=True)
class Canary:
    """A word, the path that it was put on, and under which keys of the settings it may leave."""

    token: str
    path: str
    """Names the place, such as ``call.input.user``."""
    kinds: tuple[str, ...]
    """It stands in values of these kinds; each place may show it where its kind lets it. A part of a
    call, several joined by ``+`` (all must), ``label``, ``metadata``, ``opaque``, ``unknown`` (a key
    that nobody knows), or ``mixed``: what may quote any part."""
    flavour: Flavour
    where: Where

    @property
    def text(self) -> str:
        """As it stands in content."""
        return f"{self.token}@leak.example" if self.flavour == "mail" else self.token


@dataclass(frozen=True)
class Running:
    """A grant as far as the oracle knows it."""

    match: Mapping[str, Any]
    level: str


@dataclass(frozen=True)
class Rule:
    """What is in force: the document, the grants that run, and where telemetry may go."""

    document: Mapping[str, Any]
    grants: tuple[Running, ...] = ()
    also: tuple[Rule, ...] = ()
    """Refused since: what they would have hidden stays hidden."""

    def allows(self, canary: Canary, receiver: str) -> bool:
        """Whether it may reach this receiver."""
        wanted = self.document.get("destinations", {}).values()
        sent_there = any(
            x.get("endpoint") == receiver
            and x.get("enabled", True)
            and "traces" in x.get("signals", ("traces", "metrics"))
            for x in wanted
        )
        return sent_there and all(rule._visible(canary) for rule in (self, *self.also))

    def _visible(self, canary: Canary) -> bool:
        return any(self._shows(canary, kind) for kind in canary.kinds)

    def _shows(self, canary: Canary, kind: str) -> bool:
        rank = LEVELS.index(self._level(canary.where, kind))
        if kind in ("opaque", "unknown"):
            return rank == 3
        if kind == "metadata":
            return rank >= 1
        seen = rank == 3 or self._survives(canary.flavour)
        return seen and rank >= (1 if kind == "label" else 2)

    def _survives(self, flavour: Flavour) -> bool:
        """Whether detectors leave it."""
        redaction = self.document.get("redaction", {})
        if flavour == "mail":
            email = redaction.get("detectors", {}).get("email", {})
            return not email.get("enabled", True) or "mq*" in redaction.get("allow", ())
        return flavour == "plain" or "code" not in redaction.get("patterns", {})

    def _level(self, where: Where, kind: str) -> str:
        levels = self._parts(where)
        known = {"label": ("level",), "metadata": ("level",)}.get(kind, kind.split("+"))
        own = [levels[name] for name in known if name in levels] or levels.values()
        found = min(own, key=LEVELS.index)
        for grant in self.grants:
            if _fits(grant.match, where):
                found = max(found, grant.level, key=LEVELS.index)
        return found

    def _parts(self, where: Where) -> dict[str, str]:
        capture = self.document.get("capture", {})
        rules = sorted(capture.get("rules", {}).items(), key=_order)
        level = capture.get("level", "metadata")
        rule = next((rule for _, rule in rules if _fits(rule.get("match", {}), where)), None)
        if rule is not None:
            level = rule.get("level", "metadata")
        parts = {name: capture.get(name) or level for name in PARTS}
        if rule is not None:
            parts = {name: min(part, level, key=LEVELS.index) for name, part in parts.items()}
        return {"level": level, **parts}


def _order(item: tuple[str, Mapping[str, Any]]) -> tuple[int, str]:
    return item[1].get("order", 100), item[0]


def _fits(match: Mapping[str, Any], where: Where) -> bool:
    return all(
        any(fnmatchcase(getattr(where, key), glob) for glob in pattern.split("|"))
        for key, pattern in match.items()
        if pattern
    )


@dataclass
class Nest:
    """All canaries of one sequence."""

    known: dict[str, Canary] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def lay(
        self, path: str, where: Where, *kinds: str, flavours: Iterable[Flavour] = _PREFIX
    ) -> str:
        """Text with a new canary of each flavour, as content of this place.

        It begins with filling of a length that varies, so that a cut falls anywhere.
        """
        made = [self._one(path, where, kinds, flavour) for flavour in flavours]
        return "." * (7 * len(self.known) % 45) + " and ".join(canary.text for canary in made)

    def found(self, data: bytes | str) -> Iterator[Canary]:
        """Those that stand in it."""
        raw = data.encode(errors="replace") if isinstance(data, str) else data
        for token in {match.decode() for match in _TOKEN.findall(raw)}:
            if token in self.known:
                yield self.known[token]

    def _one(self, path: str, where: Where, kinds: tuple[str, ...], flavour: Flavour) -> Canary:
        number, letters = next(self._numbers), ""
        for _ in range(6):
            number, digit = divmod(number, 25)
            letters += chr(ord("a") + digit)
        canary = Canary(f"{_PREFIX[flavour]}{letters}z", path, kinds, flavour, where)
        self.known[canary.token] = canary
        return canary
