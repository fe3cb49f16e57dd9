"""Precision and recall of the detectors on the labelled samples: ``python -m tests.policy.score``.

With ``--errors`` every miss and every wrong find is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from llm_observe.policy.redaction import Redactor
from llm_observe.policy.rules import default
from llm_observe.policy.scoring import Sample, Score, judge, samples

SAMPLES = Path(__file__).parent / "samples"


def every_sample() -> Iterator[Sample]:
    """All samples of the repository."""
    for path in sorted(SAMPLES.glob("*.jsonl")):
        for _, sample in samples(path.read_text().splitlines()):
            yield sample


def score(redactor: Redactor, language: str = "", *, errors: bool = False) -> Score:
    """The redactor on the samples, of one language or of all."""
    total = Score()
    for sample in every_sample():
        if language in ("", sample.language):
            verdict = judge(sample.labels or (), redactor.finds(sample.text))
            total.add(verdict)
            if errors and (verdict.missed or verdict.wrong):
                print(f"{sample.note}: {sample.text!r}")
                for word, labels in (("missed", verdict.missed), ("wrong", verdict.wrong)):
                    for label in labels:
                        print(f"    {word} {label.rule} {sample.text[label.start : label.end]!r}")
    return total


def table(total: Score) -> str:
    """One line per detector."""
    lines = [f"{'detector':12}{'hits':>6}{'missed':>8}{'wrong':>7}{'precision':>11}{'recall':>8}"]
    for rule in total.rules():
        counts = f"{total.hits[rule]:6}{total.missed[rule]:8}{total.wrong[rule]:7}"
        lines.append(
            f"{rule:12}{counts}{_percent(total.precision(rule)):>11}{_percent(total.recall(rule)):>8}"
        )
    hits = total.hits.total()
    lines.append(
        f"{'all':12}{hits:6}{total.missed.total():8}{total.wrong.total():7}"
        f"{_percent(hits / (hits + total.wrong.total())):>11}"
        f"{_percent(hits / (hits + total.missed.total())):>8}"
    )
    return "\n".join([*lines, f"{total.exact} of {hits} hits begin and end where the label does"])


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


if __name__ == "__main__":
    for wanted in ("en", "zh", ""):
        print(
            f"\n{wanted or 'all'}: {sum(wanted in ('', s.language) for s in every_sample())} samples"
        )
        print(table(score(default(), wanted, errors="--errors" in sys.argv and not wanted)))
