"""What arrived on the wire, as records that JSON can hold and that carry no secrets. Pure."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from llm_observe.control.rules.model import ComponentView, HealthView
from llm_observe.errors import Problem
from llm_observe.opamp.values import AgentCapabilities, Component, Health

_LINE = re.compile(r"(?P<path>.+?): found (?P<found>.*), expected (?P<expected>.*)")
_DOCUMENT = "(document)"
LINE_CHARS = 2000
"""A longer line of an error message is shown, and not taken apart."""
# A key counts from the telling word on: what stands before it need not be looked at, so the time
# that this takes grows with the text and no faster.
_SECRET = re.compile(
    r"""(?ix)
    (?P<key> (?: passw(?:or)?d | secret | token | api[_-]?key | authorization | credential
             | private[_-]?key ) [\w.-]{0,24} ["']? [ \t]{0,24} [:=] [ \t]{0,24} )
    (?P<value> \$\{[^}\n]*\}[^\n,}]* | "(?:[^"\\\n]|\\.)*" | '[^'\n]*'
             | [^\s,}\]\[{\#"'|>][^\n,}\]]* )"""
)
_HARMLESS = re.compile(
    r"""(?ix) ["']? (?: true | false | null | ~ | \$\{ [^}]* \} | \[?redacted\]?
    | \*+ (?:\(\w+\))? | (?:env|file):\S+ ) ["']? \s*"""
)
_NUMBER = re.compile(r"[\d._]+\s*\w{0,2}\s*")
_OPAMP_WORDS = {"OPAMP": "OpAMP"}


def plain(value: Any) -> Any:
    """An attribute value as JSON data: bytes in hex, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def number(value: Any) -> float | None:
    """A number of a report; None where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def health(told: Health | None, now: float) -> HealthView:
    """A health tree; what was never reported is not healthy and not unhealthy."""
    if told is None:
        return HealthView()
    return HealthView(
        told.healthy,
        told.status,
        told.last_error,
        _seconds(told.start_time_unix_nano),
        _seconds(told.status_time_unix_nano) or now,
        {name: health(child, now) for name, child in told.components.items()},
        plain(told.attributes),
    )


def _seconds(nanoseconds: int) -> float | None:
    return nanoseconds / 1e9 if nanoseconds else None


def component(told: Component) -> ComponentView:
    """A component tree."""
    return ComponentView(
        plain(told.metadata), {name: component(c) for name, c in told.components.items()}
    )


def problems_of(error: str) -> tuple[Problem, ...]:
    """The lines of an error message that follow our form, one problem per key."""
    lines = (line.strip() for line in error.splitlines() if len(line) <= LINE_CHARS)
    found = map(_LINE.fullmatch, lines)
    return tuple(
        Problem("" if m["path"] == _DOCUMENT else m["path"], m["found"], m["expected"])
        for m in found
        if m
    )


@lru_cache(maxsize=256)
def capability_names(bits: int) -> tuple[str, ...]:
    """The specification's names of the capabilities that are set, in the order of their bits."""
    return tuple(
        "".join(_OPAMP_WORDS.get(word, word.title()) for word in (flag.name or "").split("_"))
        for flag in AgentCapabilities
        if bits & flag
    )


def masked(body: bytes) -> bytes:
    """A config file of somebody else, its secrets replaced by ``***`` and a short hash.

    By the names of keys, in YAML, JSON and ini files; numbers, references and what is masked
    already stay.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    return _SECRET.sub(_mask, text).encode()


def _mask(found: re.Match[str]) -> str:
    value = found["value"]
    if _HARMLESS.fullmatch(value) or _is_count(found["key"], value):
        return found[0]
    digest = hashlib.sha256(value.strip("\"' \t\r").encode()).hexdigest()[:8]
    return f'{found["key"]}"***({digest})"'


def _is_count(key: str, value: str) -> bool:
    """``max_tokens: 4096`` is no secret, ``token: 4096`` and ``password: 4096`` are."""
    plural = key.lower().startswith(("tokens", "token_"))
    return plural and bool(_NUMBER.fullmatch(value))
