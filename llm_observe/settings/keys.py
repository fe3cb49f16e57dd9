"""Every settings key as a row: path, what may stand there, default, sentence.

Made from the JSON Schema of the settings document, so it cannot differ from what is checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Schema = Mapping[str, Any]


Kind = Literal["number", "integer", "boolean", "text", "choice", "choices", "texts"]
"""What a value is; of the plural ones there may be several."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key. ``<name>`` in a path stands for a name of your choice."""

    path: str
    allowed: str
    default: str
    sentence: str
    kind: Kind = "text"
    choices: tuple[str, ...] = ()


def key_rows(schema: Schema) -> list[Key]:
    """The keys of a settings schema, in the document's order."""
    return list(_walk(schema, schema, ()))


def _walk(root: Schema, node: Schema, prefix: tuple[str, ...]) -> Iterator[Key]:
    for name, raw in node.get("properties", {}).items():
        path = (*prefix, name)
        child = {**_resolved(root, raw), **{k: v for k, v in raw.items() if k != "$ref"}}
        if "properties" in child:
            yield from _walk(root, child, path)
        elif _is_mapping_of_objects(root, child):
            yield from _walk(
                root, _resolved(root, child["additionalProperties"]), (*path, "<name>")
            )
        else:
            yield _key(path, child, root)


def _is_mapping_of_objects(root: Schema, node: Schema) -> bool:
    inner = node.get("additionalProperties")
    return isinstance(inner, Mapping) and "properties" in _resolved(root, inner)


def _resolved(root: Schema, node: Schema) -> Schema:
    reference = node.get("$ref")
    return root["$defs"][reference.rsplit("/", 1)[-1]] if reference else node


def _key(path: tuple[str, ...], node: Schema, root: Schema) -> Key:
    dotted = ".".join(path)
    if isinstance(node.get("additionalProperties"), Mapping):
        dotted += ".<name>"
    default = "" if node.get("default") in (None, "", {}) else json.dumps(node["default"])
    sentence = " ".join(node.get("description", "").split())
    return Key(dotted, _allowed(node, root), default, sentence, *_kind(_set(node, root), root))


def _set(node: Schema, root: Schema) -> Schema:
    """What may stand there if anything does."""
    given = (one for one in node.get("anyOf", ()) if one.get("type") != "null")
    return _resolved(root, next(given, node))


def _kind(node: Schema, root: Schema) -> tuple[Kind, tuple[str, ...]]:
    if node.get("type") == "array":
        choices = _kind(_resolved(root, node["items"]), root)[1]
        return "choices" if choices else "texts", choices
    choices = tuple(map(str, node.get("enum", [node["const"]] if "const" in node else ())))
    return "choice" if choices else _KINDS.get(str(node.get("type")), "text"), choices


def _allowed(node: Schema, root: Schema) -> str:
    if "anyOf" in node:
        return _allowed(_set(node, root), root)
    if "enum" in node:
        return ", ".join(map(str, node["enum"]))
    if "const" in node:
        return str(node["const"])
    if node.get("type") == "array":
        return f"a list of: {_allowed(_resolved(root, node['items']), root)}"
    inner = node.get("additionalProperties")
    if isinstance(inner, Mapping):
        return _allowed(inner, root)
    return _TYPES.get(str(node.get("type")), str(node.get("type"))) + _bounds(node)


_TYPES = {
    "number": "a number", "integer": "a whole number", "boolean": "true or false", "string": "a text",
}  # fmt: skip
_KINDS: Mapping[str, Kind] = {"number": "number", "integer": "integer", "boolean": "boolean"}
_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}


def _bounds(node: Schema) -> str:
    words = [f"{word} {node[name]:g}" for name, word in _BOUNDS.items() if name in node]
    return f", {', '.join(words)}" if words else ""
