"""What arrived on the wire, as records that JSON can hold and that carry no secrets. Pure."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llm_observe.control.model import ComponentView, HealthView
from llm_observe.errors import Problem
from llm_observe.opamp.values import AgentCapabilities, Component, Health

_LINE = re.compile(r"(?P<path>.+?): found (?P<found>.*), expected (?P<expected>.*)")
_DOCUMENT = "(document)"
_SECRET = re.compile(
    r"""(?ix)
    (?P<key> ["']? [\w.-]* (?: passw(?:or)?d | secret | token | api[_-]?key | authorization
             | credential | private[_-]?key ) [\w.-]* ["']? [ \t]* [:=] [ \t]* )
    (?P<value> "(?:[^"\\\n]|\\.)*" | '[^'\n]*' | [^\s,}\]\[{\#"'|>][^\n,}\]]* )"""
)
_HARMLESS = re.compile(r"""(?ix) ["']? (?: [\d._]+ \w{0,2} | true | false | null | ~
    | \$\{ [^}]* \} | \[?redacted\]? | \*+ (?:\(\w+\))? | (?:env|file):\S+ ) ["']? \s*""")
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
    found = (_LINE.fullmatch(line.strip()) for line in error.splitlines())
    return tuple(
        Problem("" if m["path"] == _DOCUMENT else m["path"], m["found"], m["expected"])
        for m in found
        if m
    )


def capability_names(bits: int) -> list[str]:
    """The specification's names of the capabilities that are set, in the order of their bits."""
    return [
        "".join(_OPAMP_WORDS.get(word, word.title()) for word in (flag.name or "").split("_"))
        for flag in AgentCapabilities
        if bits & flag
    ]


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
    if _HARMLESS.fullmatch(value):
        return found[0]
    digest = hashlib.sha256(value.strip("\"' \t\r").encode()).hexdigest()[:8]
    return f'{found["key"]}"***({digest})"'
