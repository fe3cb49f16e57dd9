"""Labelled samples: how they are read, and how good the detectors are on those of the repository."""

import json
import re
from typing import Any

import pytest

from llm_observe.policy.rules import default, usual
from llm_observe.policy.scoring import Label, SampleError, judge, samples
from tests.policy.score import SAMPLES, every_sample, score, table

FLOORS = {
    "card": (0.97, 0.97), "email": (0.98, 0.98), "iban": (0.96, 0.96), "id-cn": (0.94, 0.94),
    "ip": (0.95, 0.95), "media": (1.0, 1.0), "phone": (0.96, 0.96), "secret": (0.96, 0.96),
}  # fmt: skip
"""The least precision and recall, by detector; what is measured is printed and lies above."""


def read(*lines: Any) -> Any:
    return [sample for _, sample in samples(map(json.dumps, lines))]


def test_there_are_500_samples_in_two_languages_and_many_hold_nothing() -> None:
    every = list(every_sample())
    assert len(every) >= 500
    assert len({sample.text for sample in every}) == len(every)
    chinese = [sample for sample in every if re.search("[一-鿿]", sample.text)]
    assert len(chinese) >= 170
    assert {sample.language for sample in every} == {"en", "zh"}
    assert sum(sample.labels == () for sample in every) >= 200
    assert all(sample.note for sample in every)


@pytest.mark.parametrize("language", ["en", "zh", ""])
def test_precision_and_recall_do_not_fall(language: str) -> None:
    total = score(default(), language)
    print(f"\n{language or 'all'}\n{table(total)}")
    for rule, (precision, recall) in FLOORS.items():
        found = total.precision(rule), total.recall(rule)
        assert all(
            share is None or share >= floor
            for share, floor in zip(found, (precision, recall), strict=True)
        ), rule
    hits, wrong, missed = total.hits.total(), total.wrong.total(), total.missed.total()
    assert hits / (hits + wrong) >= 0.98
    assert hits / (hits + missed) >= 0.98
    assert total.exact / hits >= 0.98


def test_every_detector_that_runs_by_itself_is_labelled_somewhere() -> None:
    labelled = {label.rule for sample in every_sample() for label in sample.labels or ()}
    assert labelled == {detector.name for detector in usual()}


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.jsonl")), ids=lambda path: path.name)
def test_what_was_masked_once_is_not_masked_again(path: Any) -> None:
    for _, sample in samples(path.read_text().splitlines()):
        once = default().text(sample.text)
        assert default().text(once) == once


def test_labels_are_words_in_their_order_or_places() -> None:
    words = [{"detector": "a", "text": "x"}, {"detector": "b", "text": "x"}]
    places = [{"detector": "a", "start": 0, "end": 1}, {"detector": "b", "start": 2, "end": 3}]
    (one, other) = read({"text": "x x", "spans": words}, {"text": "x x", "spans": places})
    assert one.labels == other.labels == (Label(0, 1, "a"), Label(2, 3, "b"))
    assert read({"text": "x"})[0].labels is None
    assert read({"text": "x", "spans": []})[0].labels == ()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: found no JSON"),
        ("[" * 100_000, "line 2: found no JSON"),
        ("[1]", "line 2: found [1], expected a JSON object"),
        ("{}", "line 2, text: found nothing, expected a text"),
        ('{"text": 5}', "line 2, text: found 5, expected a text"),
        ('{"text": "a", "label": 1}', "line 2, label: found an unknown key"),
        ('{"text": "a", "spans": {}}', "line 2, spans: found {}, expected a list"),
        ('{"text": "a", "spans": ["a"]}', 'line 2, spans[0]: found "a", expected an object'),
        ('{"text": "a", "spans": [{}]}', "line 2, spans[0].detector: found nothing"),
        ('{"text": "a", "spans": [{"detector": "x"}]}', "expected text, or start and end"),
        ('{"text": "a", "spans": [{"detector": "x", "start": 0, "end": 2}]}', "within 0 to 1"),
        ('{"text": "a", "spans": [{"detector": "x", "start": true, "end": 1}]}', "within 0 to 1"),
        ('{"text": "a", "spans": [{"detector": "x", "text": "b"}]}', 'spans[0].text: found "b"'),
        ('{"text": "a", "spans": [{"detector": "x", "text": ""}]}', 'spans[0].text: found ""'),
    ],
)
def test_a_line_that_is_no_sample_is_named_with_its_key(line: str, words: str) -> None:
    with pytest.raises(SampleError, match=re.escape(words)) as caught:
        list(samples(["", line]))
    assert caught.value.line == 2


def test_a_find_counts_if_it_covers_the_label_under_its_name() -> None:
    text = "see joe@example.com and 10.0.0.1"
    finds = default().finds(text)
    mail, ip = Label(4, 19, "email"), Label(24, 32, "ip")
    assert judge([mail, ip], finds) == ((mail, ip), (), (), 2)
    inner = Label(8, 19, "email")
    assert judge([inner, ip], finds) == ((inner, ip), (), (), 1)
    wide, other = Label(0, 19, "email"), Label(4, 19, "phone")
    assert judge([wide, ip], finds) == ((ip,), (wide,), (), 1)
    assert judge([other], finds) == ((), (other,), (mail, ip), 0)
