"""Forms made from the keys of the settings: a key that is added has its field here. Pure.

A *part* is a card of the page: fields of single keys, and *lists* of what has a name of one's
choice, such as rules. An input is named by its key's path, in a list by the path below the name.
A field that is left empty has no opinion; one that was not sent is left as it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from starlette.datastructures import FormData

from llm_observe.errors import Problem, SettingsError
from llm_observe.settings.documents import Fragment, join_path, split_path
from llm_observe.settings.keys import Key, key_rows
from llm_observe.settings.notes import note_of
from llm_observe.settings.schema import json_schema

ELSEWHERE = (
    "sampling.ratio", "capture.level", "capture.grants.", "conventions.genai", "destinations.",
)  # fmt: skip
"""Keys that have a form of their own."""

DESTINATION = ("endpoint", "protocol", "enabled", "compression", "timeout_s", "signals", "headers")
"""Keys of a destination that have a field of their own."""

TITLES: Mapping[str, tuple[str, str]] = {
    "sampling.rules": ("Rules", "rule"),
    "capture.rules": ("Rules", "rule"),
    "redaction.detectors": ("Detectors", "detector"),
    "redaction.patterns": ("Patterns of your own", "pattern"),
    "instrumentation.providers": ("Client libraries", "library"),
    "instrumentation.others": ("Instrumentors of others", "instrumentor"),
}
"""Heading of a list, and what one of it is called."""

_NAME = "<name>"
_SWITCH = (("true", "Yes"), ("false", "No"))
_LONG = frozenset({"texts", "pairs"})


@dataclass(frozen=True, slots=True)
class Field:
    """One input, and what stands in it. ``kind``: as of a `Key`, or ``pairs``, a line for each."""

    name: str
    path: str
    label: str
    hint: str
    kind: str
    choices: tuple[tuple[str, str], ...]
    value: str
    example: str
    default: str

    @property
    def wide(self) -> bool:
        """Whether it takes a line of its own."""
        return self.kind in _LONG


@dataclass(frozen=True, slots=True)
class Entry:
    """One of a list: its name, its fields, and what is set of it in few words."""

    name: str
    fields: tuple[Field, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What is named by the one who sets it."""

    prefix: str
    title: str
    one: str
    entries: tuple[Entry, ...]
    blank: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What a card shows of one part of the settings."""

    name: str
    fields: tuple[Field, ...]
    lists: tuple[Listed, ...]


Typed = Mapping[str, str]
"""What was typed into a refused form, by the name of the input."""
_NOTHING: Typed = MappingProxyType({})


def part(name: str, document: Fragment, form: str = "", typed: Typed = _NOTHING) -> Part:
    """A part as it is set; a refused form with what was typed. ``form``: its `form_of`."""
    single = [key for key in _keys(name) if _NAME not in key.path]
    mine = typed if form == form_of(name) else {}
    prefixes = dict.fromkeys(_prefix(key.path) for key in _keys(name) if _NAME in key.path)
    return Part(
        name,
        tuple(_field(key, key.path, key.path, document, mine) for key in single),
        tuple(_listed(prefix, document, form, typed) for prefix in prefixes),
    )


def destination_fields(
    name: str, document: Fragment, typed: Typed | None = None
) -> tuple[Field, ...]:
    """The fields of a destination that are not in its own form."""
    return tuple(
        field
        for field in _entry("destinations", name, document, typed or {}).fields
        if field.name.split(".")[0] not in DESTINATION
    )


def form_of(*names: str) -> str:
    """What tells a form from the others: of a part, or of one of a list."""
    return ":".join(names)


def part_values(form: FormData, name: str) -> dict[str, Any]:
    """Path to value of the fields of a part that were sent."""
    single = [key for key in _keys(name) if _NAME not in key.path]
    return {key.path: _read(key, form, key.path) for key in single if key.path in form}


def entry_values(form: FormData, prefix: str, name: str) -> dict[str, Any]:
    """Path to value of the fields of one of a list that were sent.

    Raises:
        SettingsError: It has no name, there is no such list, or a line is no pair.
    """
    if not name:
        raise SettingsError([Problem("name", "nothing", "a name")])
    found = {}
    for key in _below(prefix):
        relative = _relative(key.path, prefix)
        if relative in form:
            found[_full(prefix, name, relative)] = _read(key, form, relative)
    return found


def lists() -> tuple[str, ...]:
    """The prefix of every list, those of destinations and grants among them."""
    return tuple(dict.fromkeys(_prefix(k.path) for k in _all() if _NAME in k.path))


def _listed(prefix: str, document: Fragment, form: str, typed: Typed) -> Listed:
    title, one = TITLES.get(prefix, (_words(prefix.rpartition(".")[2]), "entry"))
    named = _at(document, prefix)
    names = sorted(named) if isinstance(named, Mapping) else []
    given = typed.get("name", "") if form.startswith(f"{prefix}:") else None
    entries = (
        _entry(prefix, name, document, typed if name == given else {}) for name in names
    )  # fmt: skip
    new = typed if given is not None and given not in names else {}
    return Listed(prefix, title, one, tuple(entries), _entry(prefix, given or "", {}, new).fields)


def _entry(prefix: str, name: str, document: Fragment, typed: Typed) -> Entry:
    fields = []
    for key in _below(prefix):
        relative = _relative(key.path, prefix)
        fields.append(_field(key, relative, _full(prefix, name, relative), document, typed))
    told = [f"{f.label.lower()} {f.value.replace(chr(10), ', ')}" for f in fields if f.value]
    return Entry(name, tuple(fields), "; ".join(told))


def _field(key: Key, name: str, path: str, document: Fragment, typed: Typed) -> Field:
    pairs = key.path.endswith(f".{_NAME}")
    kind = "pairs" if pairs else key.kind
    choices = _SWITCH if kind == "boolean" else tuple((each, each) for each in key.choices)
    example = note_of(key.path).example.strip("\"'")
    stored = _shown(_at(document, path))
    hint = f"{key.sentence} One a line, as key = pattern." if pairs else key.sentence
    return Field(
        name, path, _words(name if name != path else name.partition(".")[2]), hint, kind, choices, typed.get(name, stored),
        f"key = {example}" if pairs else example, key.default.strip('"'),
    )  # fmt: skip


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{name} = {item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value).removesuffix(".0")


def _read(key: Key, form: FormData, name: str) -> Any:
    text = str(form.get(name) or "").strip()
    if key.path.endswith(f".{_NAME}"):
        return _pairs(name, text) or ""
    if key.kind in ("texts", "choices"):
        return [line.strip() for line in text.splitlines() if line.strip()] or ""
    if key.kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return _number(text) if key.kind in ("number", "integer") else text


def _pairs(name: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, equals, value = (piece.strip() for piece in line.partition("="))
        if not equals or not key or key in found:
            raise SettingsError([Problem(name, repr(line[:80]), "key = pattern, each key once")])
        found[key] = value
    return found


def _number(text: str) -> float | int | str:
    if re.fullmatch(r"[-+]?\d{1,15}", text):
        return int(text)
    plain = re.fullmatch(r"[-+]?\d*\.?\d+([eE][-+]?\d{1,3})?", text)
    return float(text) if plain and math.isfinite(float(text)) else text


def _at(document: Fragment, path: str) -> Any:
    found: Any = document
    for name in split_path(path):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


_UNITS = {" s": ", seconds", " usd": ", US dollars", " mib": ", MiB"}


def _words(name: str) -> str:
    words = name.removesuffix(f".{_NAME}").replace("match.", "only ").replace(".", " ")
    words = words.replace("_", " ")
    for unit, meant in _UNITS.items():
        words = words.removesuffix(unit) + meant if words.endswith(unit) else words
    return words[:1].upper() + words[1:]


@cache
def _all() -> tuple[Key, ...]:
    return tuple(key_rows(json_schema()))


def _keys(part_name: str) -> Iterator[Key]:
    for key in _all():
        if key.path.startswith(f"{part_name}.") and not key.path.startswith(ELSEWHERE):
            yield key


def _below(prefix: str) -> Iterable[Key]:
    found: Sequence[Key] = [k for k in _all() if k.path.startswith(f"{prefix}.{_NAME}.")]
    if not found:
        raise SettingsError([Problem(prefix, "no list", f"one of {', '.join(lists())}")])
    return found


def _prefix(path: str) -> str:
    return path.partition(f".{_NAME}")[0]


def _relative(path: str, prefix: str) -> str:
    return path.removeprefix(f"{prefix}.{_NAME}.").removesuffix(f".{_NAME}")


def _full(prefix: str, name: str, relative: str) -> str:
    return join_path((*prefix.split("."), name, *relative.split(".")))
