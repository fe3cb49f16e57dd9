"""Take personal data and secrets out of text, keeping its shape.

`redact` walks strings inside nested values, and inside text that is JSON, so that what was a
JSON object stays one. A find is replaced by its detector's name in brackets: ``[email]``.

It raises on what it cannot walk (nesting beyond the interpreter's limit); the caller then drops
the content. It never returns unseen text for seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llm_observe.policy.detectors import DETECTORS, Detector

_JSON_IN_JSON = 3
"""How deep JSON text inside JSON text is opened; below that it is plain text."""


def redact_text(text: str, detectors: tuple[Detector, ...] = DETECTORS) -> str:
    """Plain text with every find masked. Linear in the length of the text."""
    finds = [(*span, name) for name, find in detectors for span in find(text)]
    if not finds:
        return text
    pieces, position = [], 0
    for start, end, name in _outermost(finds):
        pieces += [text[position:start], f"[{name}]"]
        position = end
    return "".join((*pieces, text[position:]))


def redact(value: Any, detectors: tuple[Detector, ...] = DETECTORS) -> Any:
    """A copy of a value with every string in it masked, names of mappings included."""
    return _walk(value, detectors, _JSON_IN_JSON)


def _walk(value: Any, detectors: tuple[Detector, ...], opens: int) -> Any:
    if isinstance(value, str):
        return _text(value, detectors, opens)
    if isinstance(value, bool | float) or value is None:
        return value
    if isinstance(value, int):
        masked = redact_text(str(value), detectors)
        return value if masked == str(value) else masked
    if isinstance(value, Mapping):
        return _mapping(value, detectors, opens)
    if isinstance(value, list | tuple):
        return type(value)([_walk(item, detectors, opens) for item in value])
    if isinstance(value, bytes):
        return _bytes(value, detectors, opens)
    raise TypeError(f"cannot redact {type(value).__name__}")


def _mapping(value: Mapping[Any, Any], detectors: tuple[Detector, ...], opens: int) -> Any:
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = redact_text(str(key), detectors)
        if name in result:
            name = f"{name}#{len(result)}"  # two names that mask alike stay two
        result[name] = _walk(item, detectors, opens)
    return result


def _bytes(value: bytes, detectors: tuple[Detector, ...], opens: int) -> bytes:
    masked = _text(value.decode(), detectors, opens)  # opaque bytes raise: the caller drops them
    return str(masked).encode()


def _text(text: str, detectors: tuple[Detector, ...], opens: int) -> str:
    body = text.strip()
    if opens and body[:1] in ("{", "[", '"') and body[-1:] in ("}", "]", '"'):
        try:
            inside = json.loads(body)
        except ValueError:
            return redact_text(text, detectors)
        masked = _walk(inside, detectors, opens - 1)
        return text if masked == inside else json.dumps(masked, ensure_ascii=False)
    return redact_text(text, detectors)


def _outermost(finds: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Overlapping finds as one, under the name of the one that begins first, then longest."""
    result: list[tuple[int, int, str]] = []
    for start, end, name in sorted(finds, key=lambda find: (find[0], -find[1])):
        if result and start < result[-1][1]:
            first, last, before = result[-1]
            result[-1] = (first, max(last, end), before)
        else:
            result.append((start, end, name))
    return result
