"""Redaction rules tried on samples: what is read, what is counted."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

import yaml

from llm_observe.errors import LLMObserveError, SettingsError
from llm_observe.policy import rules
from llm_observe.policy.redaction import Find, Redactor, Rule
from llm_observe.policy.scoring import Label, Sample, SampleError, Score, judge, samples
from llm_observe.settings.documents import split_path
from llm_observe.settings.layers import build
from llm_observe.settings.model import Redaction
from llm_observe.settings.schema import MAX_BYTES, parse, validate

_LONGEST_LINE = 4 * 1024 * 1024
_MOST_REMARKS = 10_000


class TrialError(LLMObserveError):
    """Rules or samples cannot be used; says which file, line and key."""


def read_rules(source: IO[bytes], name: str) -> Redaction:
    """The part ``redaction`` of a settings file.

    Raises:
        TrialError: It is no such file, or something in it cannot be done on this machine.
    """
    body = source.read(MAX_BYTES + 1)
    try:
        fragment = parse(body)
        validate(fragment)
        if "redaction" not in fragment:
            raise TrialError(f"{name}: found no part redaction, expected one")
        redaction = build(fragment).redaction
        if problems := list(rules.problems(redaction)):
            raise SettingsError(problems)
    except SettingsError as error:
        lines = (f"{name}{_line(body, problem.path)}: {problem}" for problem in error.problems)
        raise TrialError("\n".join(lines)) from None
    return redaction


def _line(body: bytes, path: str) -> str:
    """Where a key stands in a YAML text, as ``:12``; nothing where that cannot be told."""
    try:
        node: Any = yaml.compose(body, Loader=yaml.SafeLoader)
        key: Any = None
        for name in split_path(path):
            key, node = next(pair for pair in node.value if pair[0].value == name)
        return f":{key.start_mark.line + 1}"
    except (yaml.YAMLError, StopIteration, AttributeError, TypeError, ValueError):
        return ""


@dataclass(slots=True)
class Trial:
    """What came of all samples."""

    redactor: Redactor
    samples: int = 0
    labelled: int = 0
    score: Score = field(default_factory=Score)
    finds: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    total_s: float = 0.0
    remarks: list[dict[str, Any]] = field(default_factory=list)
    """Each miss, wrong hit, and find in a sample without labels."""

    @property
    def missed(self) -> int:
        """Labelled spans that no find covers."""
        return self.score.missed.total()

    @property
    def microseconds(self) -> float:
        """Of one sample, with all rules at once."""
        return self.total_s / max(1, self.samples) * 1e6

    def add(self, line: int, sample: Sample) -> None:
        """Count one more sample."""
        self.samples += 1
        finds = self._timed(sample.text)
        self.finds.update(rule.name for _, _, rule in finds)
        found = [Label(start, end, rule.name) for start, end, rule in finds]
        if sample.labels is None:
            self._remark(line, sample.text, "found", found)
            return
        self.labelled += 1
        verdict = judge(sample.labels, finds)
        self.score.add(verdict)
        self._remark(line, sample.text, "missed", verdict.missed)
        self._remark(line, sample.text, "wrong", verdict.wrong)

    def _timed(self, text: str) -> list[Find]:
        for rule in self.redactor.rules:
            self.seconds[rule.name] += _least(partial(_exhaust, rule, text))
        self.total_s += _least(partial(self.redactor.finds, text))
        return self.redactor.finds(text)

    def _remark(self, line: int, text: str, what: str, labels: Any) -> None:
        for start, end, rule in labels if len(self.remarks) < _MOST_REMARKS else ():
            words = text[start:end]
            self.remarks.append(
                {
                    "line": line,
                    "what": what,
                    "rule": rule,
                    "start": start,
                    "end": end,
                    "text": words,
                }
            )

    def rules(self) -> Iterator[dict[str, Any]]:
        """One row for each rule, in the order of precedence."""
        for name, action in {rule.name: rule.action for rule in self.redactor.rules}.items():
            yield {
                "rule": name,
                "action": action,
                "finds": self.finds[name],
                "hits": self.score.hits[name],
                "missed": self.score.missed[name],
                "wrong": self.score.wrong[name],
                "microseconds": round(self.seconds[name] / max(1, self.samples) * 1e6, 2),
            }

    def document(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "samples": self.samples,
            "labelled": self.labelled,
            "missed": self.missed,
            "microseconds": round(self.microseconds, 2),
            "rules": list(self.rules()),
            "remarks": self.remarks,
        }


def _exhaust(rule: Rule, text: str) -> None:
    for _ in rule.find(text):
        pass


def _least(work: Callable[[], object]) -> float:
    """Seconds of the quickest of three runs: the first one may load and compile."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def run_trial(redaction: Redaction, source: IO[bytes], name: str) -> Trial:
    """The rules on each sample of a JSON-lines file.

    Raises:
        TrialError: A line is no sample, or labels a rule that does not exist; or there is none.
    """
    trial = Trial(rules.redactor(redaction, None))
    known = {*rules.available(), *redaction.patterns, *_names(trial.redactor.rules)}
    try:
        for number, sample in samples(_lines(source)):
            _check(number, sample, known)
            trial.add(number, sample)
    except SampleError as error:
        raise TrialError(f"{name}, {error}") from None
    if not trial.samples:
        raise TrialError(f"{name}: found no sample, expected one JSON object a line")
    return trial


def _names(every: tuple[Rule, ...]) -> set[str]:
    return {rule.name for rule in every}


def _lines(source: IO[bytes]) -> Iterator[str]:
    number = 0
    while line := source.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise SampleError(number, "", "more than 4 MiB", "a shorter line")
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise SampleError(number, "", "bytes that are no UTF-8", "text in UTF-8") from None


def _check(number: int, sample: Sample, known: set[str]) -> None:
    for index, label in enumerate(sample.labels or ()):
        if label.rule not in known:
            key = f"spans[{index}].detector"
            raise SampleError(number, key, f"{label.rule!r}", f"one of {', '.join(sorted(known))}")
