"""Take personal data and secrets out of values, keeping their shape.

A `Redactor` walks strings inside nested values, and inside text that is JSON, so that what was a
JSON object stays one. What is found is replaced by the rule's name in brackets (``[email]``), by a
keyed hash (``[email:…]``, so that equal finds can be told to be equal), or costs the whole text.

It raises on what it cannot walk (nesting beyond the interpreter's limit); the caller then drops
the content. It never returns unseen text for seen.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from llm_observe.policy.detectors import UNUSUAL, plain
from llm_observe.policy.finding import Span
from llm_observe.policy.globs import glob
from llm_observe.policy.prefilter import prefilter
from llm_observe.policy.secrets import NAME
from llm_observe.settings.model import Action

_JSON_IN_JSON = 3
"""How deep JSON text inside JSON text is opened; below that it is plain text."""

_LETTERS = str.maketrans("0123456789", "ghijklmnop")
"""Hashes are written in letters, so that no detector takes one for a number."""


_OPENING, _CLOSING = ("{", "[", '"'), ("}", "]", '"')
_LONGEST_NAME = 64


class Rule(NamedTuple):
    """What to look for and what to do with a find."""

    name: str
    hint: str
    """Matches every text in which something can be found; see `llm_observe.policy.detectors`."""
    find: Callable[[str], Iterator[Span]]
    action: Action = "mask"


_ANCHOR = re.compile(r"(?<!\[)\^|\$|\\[AzZ]")
"""In a pattern: it may fit a part of a text and not the whole."""

Find = tuple[int, int, Rule]
"""Where it begins and ends in the text, and what found it."""


class Seen:
    """Texts of one span with what became of them: a prompt stands in several attributes."""

    __slots__ = ("finds", "names", "texts")

    def __init__(self) -> None:
        self.finds: set[tuple[str, str]] = set()
        """Rule and what it found, each once: to be counted, and to leave nowhere."""
        self.texts: dict[str, str] = {}
        """None that looks like JSON."""
        self.names: dict[str, bool] = {}
        """Of mappings: whether they tell what their value is."""


class Redactor:
    """Rules made ready. Any thread; pure.

    Args:
        rules: In order of precedence where finds overlap and begin at the same place.
        allow: Patterns (``*`` and ``?``) of finds that may stay.
        key: For the action ``hash``; without one such a find costs the text, as with ``drop``.
    """

    def __init__(
        self, rules: Sequence[Rule], *, allow: Sequence[str] = (), key: bytes | None = None
    ) -> None:
        self.rules = tuple(rules)
        self._candidates = prefilter([*(rule.hint for rule in rules), UNUSUAL])
        self._unusual = len(self.rules)
        self._anchored = any(_ANCHOR.search(rule.hint) for rule in rules)
        self._allowed = [glob(pattern) for pattern in allow]
        self._key = key

    def text(self, text: str, *, after: str = "", seen: Seen | None = None) -> str:
        """Plain text without its finds. Linear in the text.

        Args:
            text: What may hold something.
            after: What stands before the text and tells what it is, such as ``password:``.
            seen: Is told of the finds.
        """
        finds = self.finds(after + text) if after else self.finds(text)
        inside = [
            (max(start - len(after), 0), end - len(after), rule)
            for start, end, rule in finds
            if end > len(after)
        ]
        if not inside:
            return text
        if seen is not None:
            seen.finds.update((rule.name, text[start:end]) for start, end, rule in inside)
        return self._without(text, inside)

    def finds(self, text: str) -> list[Find]:
        """Where something is in a text, and by which rule; from left to right, none overlapping."""
        numbers = self._candidates(text)
        if not numbers:
            return []
        finds = self._found(text, numbers)
        if numbers[-1] == self._unusual and not text.isascii():
            narrow = plain(text)
            finds += self._found(narrow, self._candidates(narrow))
        return _outermost([find for find in finds if not self._may_stay(text[find[0] : find[1]])])

    def _found(self, text: str, numbers: Sequence[int]) -> list[Find]:
        return [
            (start, end, rule)
            for number in numbers
            for rule in self.rules[number : number + 1]
            for start, end in rule.find(text)
        ]

    def value(self, value: Any, seen: Seen | None = None) -> Any:
        """A copy of a value without the finds in any of its strings, names of mappings included.

        Args:
            value: Of types that JSON has, and bytes and tuples.
            seen: What was found so far in other values of the same span.
        """
        return _Walk(self, Seen() if seen is None else seen).value(value, _JSON_IN_JSON)

    def cannot_match_within(self, text: str) -> bool:
        """Whether a look at a whole text already tells that no part of it has a find."""
        return not self._anchored and not self._candidates(text)

    def _may_stay(self, found: str) -> bool:
        return any(fits(found) for fits in self._allowed)

    def _without(self, text: str, finds: list[Find]) -> str:
        for _, _, rule in finds:
            if rule.action == "drop" or (rule.action == "hash" and self._key is None):
                return f"[dropped:{rule.name}]"
        pieces, position = [], 0
        for start, end, rule in finds:
            pieces += [text[position:start], self._instead(rule, text[start:end])]
            position = end
        return "".join((*pieces, text[position:]))

    def _instead(self, rule: Rule, found: str) -> str:
        if rule.action != "hash" or self._key is None:
            return f"[{rule.name}]"
        digest = hmac.new(self._key, found.encode(), hashlib.sha256).hexdigest()
        return f"[{rule.name}:{digest[:12].translate(_LETTERS)}]"


class _Walk:
    """One value on its way through a redactor."""

    def __init__(self, redactor: Redactor, seen: Seen) -> None:
        self._redactor, self._texts, self._names = redactor, seen.texts, seen.names
        self._seen = seen

    def value(self, value: Any, opens: int) -> Any:
        if isinstance(value, str):
            return self._text(value, opens)
        if isinstance(value, bool | float) or value is None:
            return value
        if isinstance(value, int):
            masked = self._plain(str(value))
            return value if masked == str(value) else masked
        if isinstance(value, Mapping):
            return self._mapping(value, opens)
        if isinstance(value, list | tuple):
            return type(value)([self.value(item, opens) for item in value])
        if isinstance(value, bytes):  # opaque bytes raise: the caller drops them
            return str(self._text(value.decode(), opens)).encode()
        raise TypeError(f"cannot redact {type(value).__name__}")

    def _plain(self, text: str) -> str:
        """Of a text that is no JSON by its looks."""
        masked = self._texts.get(text)
        if masked is None:
            masked = self._texts[text] = self._redactor.text(text, seen=self._seen)
        return masked

    def _mapping(self, value: Mapping[Any, Any], opens: int) -> Any:
        result: dict[str, Any] = {}
        for key, item in value.items():
            name = self._name(str(key))
            if name in result:
                name = f"{name}#{len(result)}"  # two names that mask alike stay two
            result[name] = self._named(str(key), item, opens)
        return result

    def _name(self, name: str) -> str:
        return (
            self._redactor.text(name, seen=self._seen)
            if name[:1] in _OPENING
            else self._plain(name)
        )

    def _named(self, name: str, item: Any, opens: int) -> Any:
        """A value whose name may tell what it is: ``password``, ``phone``."""
        if isinstance(item, str) and self._tells(name):
            return self._redactor.text(item, after=f'{name}="', seen=self._seen)
        return self.value(item, opens)

    def _tells(self, name: str) -> bool:
        tells = self._names.get(name)
        if tells is None:
            tells = len(name) <= _LONGEST_NAME and NAME.search(name) is not None
            self._names[name] = tells
        return tells

    def _text(self, text: str, opens: int) -> str:
        masked = self._texts.get(text)
        if masked is not None:
            return masked
        body = text.strip()
        if body[:1] not in _OPENING or body[-1:] not in _CLOSING:
            return self._plain(text)
        if not opens:
            return self._redactor.text(text, seen=self._seen)
        shown = _unescaped(body)
        if shown is not None and self._redactor.cannot_match_within(shown):
            return text
        return self._json(text, body, opens)

    def _json(self, text: str, body: str, opens: int) -> str:
        try:
            inside = json.loads(body)
        except ValueError:
            return self._redactor.text(text, seen=self._seen)
        masked = self.value(inside, opens - 1)
        return text if masked == inside else json.dumps(masked, ensure_ascii=False)


def _unescaped(body: str) -> str | None:
    """JSON text in which all strings stand as they are read; None if their escapes are unusual."""
    if "\\" not in body:
        return body
    shown = body.replace("\\n", "\n").replace('\\"', '"')
    return None if "\\" in shown else shown


def _outermost(finds: list[Find]) -> list[Find]:
    """Overlapping finds as one, under the rule of the one that begins first, then longest.

    If any of them costs the text, so does the whole.
    """
    result: list[Find] = []
    for start, end, rule in sorted(finds, key=lambda find: (find[0], -find[1])):
        if result and start < result[-1][1]:
            first, last, before = result[-1]
            kept = rule if rule.action == "drop" else before
            result[-1] = (first, max(last, end), kept)
        else:
            result.append((start, end, rule))
    return result
