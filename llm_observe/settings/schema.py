"""Checking documents: bytes to fragment, fragment to problems, JSON Schema.

This is the one module of `llm_observe.settings` that loads pydantic (some 100 ms), so a program
that is observed imports it away from its own threads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from llm_observe.errors import Problem, SettingsError
from llm_observe.settings.documents import Fragment, join_path
from llm_observe.settings.model import Settings
from llm_observe.settings.places import destination_problems, mask

MAX_BYTES = 256 * 1024
"""Largest settings document that is read."""

CONTENT_TYPES = ("application/json", "application/yaml", "application/x-yaml", "text/yaml", "")
"""Content types of a settings document; an empty one is read as YAML, of which JSON is a part."""

_LOCAL_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
"""A secret that is read from the environment of the program only."""


def parse(body: bytes, content_type: str = "application/yaml") -> dict[str, Any]:
    """Bytes to a fragment, unchecked but for its shape.

    Raises:
        SettingsError: Not YAML or JSON, too large, an alias, a repeated key, or no mapping.
    """
    if len(body) > MAX_BYTES:
        raise _error("", f"{len(body)} bytes", f"at most {MAX_BYTES} bytes")
    kind = content_type.split(";")[0].strip().lower()
    if kind not in CONTENT_TYPES:
        raise _error("", f"content type {kind!r}", "application/yaml or application/json")
    try:
        document = yaml.load(body, Loader=_Loader)  # noqa: S506  # a SafeLoader, made stricter
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _error("", _first_line(error), "a YAML or JSON mapping") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise _error("", type(document).__name__, "a mapping of settings")
    return document


def validate(fragment: Fragment) -> None:
    """Check every key that is present.

    Raises:
        SettingsError: One problem per wrong key; secrets in it are masked.
    """
    problems = [*_structural(fragment)]
    if not problems:
        problems = [*_semantic(fragment)]
    if problems:
        raise SettingsError(problems)


def json_schema() -> dict[str, Any]:
    """The document's JSON Schema (2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_adapter().json_schema(),
    }


@cache
def schema_hash() -> str:
    """Short hash of the JSON Schema: equal hashes understand the same keys."""
    text = json.dumps(json_schema(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _adapter() -> TypeAdapter[Settings]:
    return TypeAdapter(Settings)


def _structural(fragment: Fragment) -> Iterator[Problem]:
    try:
        text = json.dumps(fragment, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield Problem("", str(error), "values that JSON can hold")
        return
    try:
        _adapter().validate_json(text, strict=True)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            yield _problem(item)


def _problem(item: Mapping[str, Any]) -> Problem:
    path = join_path(tuple(str(part) for part in item["loc"] if part != "[key]"))
    if item["type"] == "unexpected_keyword_argument":
        return Problem(path, "an unknown key", f"one of {', '.join(_siblings(item['loc']))}")
    return Problem(path, _shown(path, item["input"]), _expected(item))


def _siblings(loc: tuple[Any, ...]) -> list[str]:
    """The keys that are allowed where an unknown one was found."""
    schema = json_schema()
    node: dict[str, Any] = schema
    for part in loc[:-1]:
        node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return sorted(node.get("properties", {}))


_EXPECTED = {
    "greater_than_equal": "a number of at least {ge:g}",
    "greater_than": "a number above {gt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "a text",
    "bool_type": "true or false",
    "enum": "one of {expected}",
    "literal_error": "one of {expected}",
    "dataclass_type": "a mapping",
    "mapping_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "string_too_short": "at least {min_length} character(s)",
    "string_too_long": "at most {max_length} characters",
}


def _expected(item: Mapping[str, Any]) -> str:
    template = _EXPECTED.get(item["type"])
    return template.format(**item.get("ctx", {})) if template else str(item["msg"])


def _shown(path: str, value: Any) -> str:
    if ".headers." in path or path.endswith(".proxy_authorization"):
        return mask(str(value))
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _semantic(fragment: Fragment) -> Iterator[Problem]:
    key = fragment.get("redaction", {}).get("hash_key", "")
    if key and not _LOCAL_REFERENCE.fullmatch(key):
        yield Problem("redaction.hash_key", f"a literal value {mask(key)}", "a reference: env:NAME")
    yield from _grant_problems(fragment)
    for name, destination in fragment.get("destinations", {}).items():
        yield from destination_problems(name, destination)


def _grant_problems(fragment: Fragment) -> Iterator[Problem]:
    """The end of a grant must be one moment, wherever it is read."""
    for name, grant in fragment.get("capture", {}).get("grants", {}).items():
        text = grant.get("until", "")
        if not _has_zone(text):
            expected = "a date and time with a time zone, such as 2026-12-01T18:00:00Z"
            found = json.dumps(text) if text else "nothing"
            yield Problem(join_path(("capture", "grants", name, "until")), found, expected)


def _has_zone(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _error(path: str, found: str, expected: str) -> SettingsError:
    return SettingsError([Problem(path, found, expected)])


def _first_line(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or type(error).__name__}{where}"


class _Loader(yaml.SafeLoader):
    """YAML without aliases (they grow without bound), repeated keys, dates, or `off` as false."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # as above
            raise yaml.composer.ComposerError(
                None, None, "aliases are not allowed", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                reason = (
                    "a repeated key"
                    if isinstance(key, yaml.ScalarNode)
                    else "a key that is no text"
                )
                raise yaml.constructor.ConstructorError(None, None, reason, key.start_mark)
            seen.add(key.value)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


def _construct_map(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_DROPPED = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag not in _DROPPED]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# YAML 1.2's booleans: `off` is a capture level, not a falsehood.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
# JSON's numbers: 1e-06 is one, though YAML 1.1 wants a dot in it.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)
