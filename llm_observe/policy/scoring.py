"""Labelled samples, and how well a redactor finds what they label.

A sample is one JSON object: ``text``; ``spans``, a list of objects with ``detector`` and either
``text`` (what should be found, in the order of the text) or ``start`` and ``end`` (characters);
optional ``language`` and ``note``. Without ``spans`` it is not labelled, and shows finds only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llm_observe.errors import LLMObserveError
from llm_observe.policy.redaction import Find

_KEYS = frozenset({"text", "spans", "language", "note"})


class Label(NamedTuple):
    """What should be found: by which rule, from where to where."""

    start: int
    end: int
    rule: str


class Sample(NamedTuple):
    """One text; ``labels`` None: nobody said what should be found."""

    text: str
    labels: tuple[Label, ...] | None
    language: str = ""
    note: str = ""


class SampleError(LLMObserveError):
    """A line that is no sample: ``line`` (from 1), the key, and what is wrong."""

    def __init__(self, line: int, key: str, found: str, expected: str) -> None:
        self.line, self.key = line, key
        where = f"line {line}, {key}" if key else f"line {line}"
        super().__init__(f"{where}: found {found}, expected {expected}")


def samples(lines: Iterable[str]) -> Iterator[tuple[int, Sample]]:
    """The samples of a JSON-lines text, each with the number of its line; empty lines are skipped.

    Raises:
        SampleError: A line that is no sample.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _sample(number, line)


def _sample(number: int, line: str) -> Sample:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SampleError(number, "", f"no JSON ({error})", "one JSON object") from None
    if not isinstance(found, dict):
        raise SampleError(number, "", _shown(found), "a JSON object")
    for key in found:
        if key not in _KEYS:
            raise SampleError(number, key, "an unknown key", f"one of {', '.join(sorted(_KEYS))}")
    text = _text(number, "text", found.get("text"))
    labels = tuple(_labels(number, text, found["spans"])) if "spans" in found else None
    said = (_text(number, key, found.get(key, "")) for key in ("language", "note"))
    return Sample(text, labels, *said)


def _labels(number: int, text: str, spans: Any) -> Iterator[Label]:
    if not isinstance(spans, list):
        raise SampleError(number, "spans", _shown(spans), "a list")
    position = 0
    for index, span in enumerate(spans):
        key = f"spans[{index}]"
        if not isinstance(span, Mapping):
            raise SampleError(number, key, _shown(span), "an object")
        rule = _text(number, f"{key}.detector", span.get("detector"))
        start, end = _place(number, key, text, span, position)
        position = end
        yield Label(start, end, rule)


def _place(
    number: int, key: str, text: str, span: Mapping[str, Any], after: int
) -> tuple[int, int]:
    if "text" in span:
        wanted = _text(number, f"{key}.text", span["text"])
        start = text.find(wanted, after)
        if start < 0 or not wanted:
            raise SampleError(number, f"{key}.text", _shown(wanted), "words of the sample's text")
        return start, start + len(wanted)
    first, last = span.get("start"), span.get("end")
    if type(first) is int and type(last) is int and 0 <= first < last <= len(text):
        return first, last
    expected = f"text, or start and end within 0 to {len(text)}"
    raise SampleError(number, key, f"start {_shown(first)}, end {_shown(last)}", expected)


def _text(number: int, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SampleError(number, key, "nothing" if value is None else _shown(value), "a text")
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


class Verdict(NamedTuple):
    """What came of one sample."""

    hits: tuple[Label, ...]
    """Labels that a find of their rule covers."""
    missed: tuple[Label, ...]
    """Labels that none does."""
    wrong: tuple[Label, ...]
    """Finds that touch no label of their rule."""
    exact: int
    """Hits whose find begins and ends where the label does."""


def judge(labels: Iterable[Label], finds: Iterable[Find]) -> Verdict:
    """Labels held against finds."""
    found = [Label(start, end, rule.name) for start, end, rule in finds]
    wanted = list(labels)
    hits = tuple(label for label in wanted if any(_covers(find, label) for find in found))
    missed = tuple(label for label in wanted if label not in hits)
    wrong = tuple(find for find in found if not any(_touch(find, label) for label in wanted))
    return Verdict(hits, missed, wrong, sum(label in found for label in wanted))


def _covers(find: Label, label: Label) -> bool:
    return find.rule == label.rule and find.start <= label.start and label.end <= find.end


def _touch(find: Label, label: Label) -> bool:
    return find.rule == label.rule and find.start < label.end and label.start < find.end


@dataclass(slots=True)
class Score:
    """Verdicts counted by rule."""

    hits: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    exact: int = 0

    def add(self, verdict: Verdict) -> None:
        """Count one more."""
        for counted, labels in zip((self.hits, self.missed, self.wrong), verdict[:3], strict=True):
            counted.update(label.rule for label in labels)
        self.exact += verdict.exact

    def rules(self) -> list[str]:
        """Every rule that was labelled or found."""
        return sorted({*self.hits, *self.missed, *self.wrong})

    def recall(self, rule: str) -> float | None:
        """Of what is labelled, how much was found; None: nothing is labelled."""
        return _share(self.hits[rule], self.missed[rule])

    def precision(self, rule: str) -> float | None:
        """Of what was found, how much is labelled; None: nothing was found."""
        return _share(self.hits[rule], self.wrong[rule])


def _share(good: int, bad: int) -> float | None:
    return good / (good + bad) if good + bad else None
