from typing import Any

import pytest

from llm_observe.policy import national_ids, rules
from llm_observe.policy.rules import MOST_PATTERNS, available, default, problems, redactor, usual
from llm_observe.settings.model import DetectorChoice, PatternRule, Redaction

TEXT = "joe@example.com, 44051401458, EMP-00042"


def redact(**settings: Any) -> str:
    return redactor(Redaction(**settings), None).text(TEXT)


def said(redaction: Redaction) -> list[str]:
    return [str(problem) for problem in problems(redaction)]


def test_the_usual_detectors_run_unless_switched_off() -> None:
    assert default().text(TEXT) == "[email], 44051401458, EMP-00042"
    off = {"email": DetectorChoice(enabled=False)}
    assert redact(detectors=off) == TEXT


def test_national_ids_of_a_telling_shape_are_among_them() -> None:
    assert default().text("身份证11010519491231002X") == "身份证[id-cn]"


def test_others_run_if_they_are_named() -> None:
    named = {"id-pl": DetectorChoice(action="mask"), "id-no": DetectorChoice(enabled=False)}
    assert redact(detectors=named) == "[email], [id-pl], EMP-00042"


def test_a_pattern_of_ones_own_runs_beside_them_and_its_group_is_the_find() -> None:
    patterns = {"staff": PatternRule(pattern=r"EMP-(\d+)")}
    assert redact(patterns=patterns) == "[email], 44051401458, EMP-[staff]"
    off = {"staff": PatternRule(pattern=r"EMP-(\d+)", enabled=False)}
    assert redact(patterns=off) == default().text(TEXT)


def test_allowed_finds_stay_and_a_key_makes_hashes() -> None:
    assert redact(allow=("*@example.com",)) == TEXT
    hashing = Redaction(detectors={"email": DetectorChoice(action="hash")})
    assert redactor(hashing, b"key").text("joe@example.com").startswith("[email:")
    assert redactor(hashing, None).text("see joe@example.com") == "[dropped:email]"


@pytest.mark.parametrize(
    ("redaction", "words"),
    [
        (
            Redaction(detectors={"passport": DetectorChoice()}),
            "detectors.passport: found an unknown",
        ),
        (Redaction(patterns={"a": PatternRule(pattern="(")}), "missing )"),
        (Redaction(patterns={"a.b": PatternRule(pattern="x*")}), "matches the empty text"),
        (Redaction(patterns={"a": PatternRule(pattern=r"(?<=a)b")}), "RE2 reads"),
        (Redaction(patterns={"a": PatternRule()}), "matches the empty text"),
        (
            Redaction(patterns={f"p{n}": PatternRule(pattern="x") for n in range(101)}),
            "found 101 patterns, expected at most 100",
        ),
    ],
)
def test_what_cannot_be_done_is_said_with_its_key(redaction: Redaction, words: str) -> None:
    (problem,) = said(redaction)
    assert words in problem
    redactor(redaction, None).text(TEXT)  # and does no harm


def test_what_is_switched_off_is_no_problem() -> None:
    detectors = {"passport": DetectorChoice(enabled=False)}
    patterns = {"a": PatternRule(pattern="(", enabled=False)}
    assert said(Redaction(detectors=detectors, patterns=patterns)) == []


def test_without_the_libraries_what_needs_them_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(national_ids, "installed", lambda: False)
    monkeypatch.setattr(rules, "re2", lambda: None)
    asked = Redaction(
        detectors={"id-cn": DetectorChoice()}, patterns={"a": PatternRule(pattern="x")}
    )
    assert len(said(asked)) == 2
    assert all("llm-observe[privacy]" in line for line in said(asked))
    assert redactor(asked, None).text(TEXT) == "[email], 44051401458, EMP-00042"


def test_names_are_listed_once() -> None:
    assert len(set(available())) == len(available())
    assert {detector.name for detector in usual()} < set(available())


@pytest.mark.parametrize("count", [2, 8, MOST_PATTERNS])
def test_patterns_that_are_large_together_are_found_all_the_same(count: int) -> None:
    patterns = {
        f"p{number}": PatternRule(pattern=rf"zz{number}\pL{{1,100}}[0-9]{{3}}q")
        for number in range(count)
    }
    settings = Redaction(patterns=patterns)
    assert not list(problems(settings))
    own = redactor(settings, None).value
    for number in {0, count - 1}:
        assert own(f"see zz{number}abc123q") == f"see [p{number}]"
    assert own('{"to": "joe@example.com"}') == '{"to": "[email]"}'
    assert own("nothing") == "nothing"
