"""``llm-observe redaction``: rules tried on samples before they are published."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from llm_observe.cli.main import run
from llm_observe.policy.rules import available

RULES = """
redaction:
  detectors:
    id-pl: {}
    ip: {enabled: false}
  patterns:
    staff: {pattern: 'EMP-(\\d+)', action: drop}
  allow: ['*@example.org']
"""


class Outcome:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def rules(self) -> dict[str, dict[str, Any]]:
        return {rule["rule"]: rule for rule in json.loads(self.out)["rules"]}


class Bench:
    """Two files, and the command on them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def __call__(self, *samples: Any, rules: str = RULES, form: str = "json") -> Outcome:
        lines = [line if isinstance(line, str) else json.dumps(line) for line in samples]
        (self.folder / "rules.yaml").write_text(rules)
        (self.folder / "samples.jsonl").write_text("\n".join(lines))
        files = [str(self.folder / name) for name in ("rules.yaml", "samples.jsonl")]
        return self.run("redaction", "test", *files, "-o", form)

    def run(self, *arguments: str) -> Outcome:
        code = run([*arguments])
        return Outcome(code, *self.capsys.readouterr())


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(tmp_path, capsys)


def sample(text: str, *spans: tuple[str, str]) -> dict[str, Any]:
    return {"text": text, "spans": [{"detector": name, "text": words} for name, words in spans]}


GOOD = sample("joe@example.com EMP-12345", ("email", "joe@example.com"), ("staff", "12345"))


def test_hits_are_counted_by_rule_and_timed(bench: Bench) -> None:
    done = bench(GOOD, {"text": "see ann@example.com"})
    assert done.code == 0, done.err
    assert done.rules["email"] | {"microseconds": 0} == {
        "rule": "email", "action": "mask", "finds": 2, "hits": 1, "missed": 0, "wrong": 0, "microseconds": 0,
    }  # fmt: skip
    assert done.rules["staff"]["action"] == "drop"
    assert all(rule["microseconds"] > 0 for rule in done.rules.values())
    document = json.loads(done.out)
    assert (document["samples"], document["labelled"], document["missed"]) == (2, 1, 0)
    assert document["remarks"] == [
        {"line": 2, "what": "found", "rule": "email", "start": 4, "end": 19, "text": "ann@example.com"}
    ]  # fmt: skip


def test_a_missed_span_fails_and_a_wrong_hit_is_shown(bench: Bench) -> None:
    allowed = sample("x@example.org, y@example.com", ("email", "x@example.org"))
    done = bench(GOOD, allowed, form="table")
    assert done.code == 1
    assert "line 2: missed email at 0–13: x@example.org" in done.out
    assert "line 2: wrong email at 15–28: y@example.com" in done.out
    assert "2 samples, 2 of them labelled" in done.out


def test_wrong_hits_alone_do_not_fail(bench: Bench) -> None:
    done = bench(sample("write to y@example.com"))
    assert done.code == 0
    assert done.rules["email"]["wrong"] == 1


def test_what_the_rules_switch_off_or_on_counts(bench: Bench) -> None:
    off = bench(sample("from 10.20.30.40", ("ip", "10.20.30.40")))
    assert off.code == 1
    assert "ip" not in off.rules
    assert bench(sample("nr 44051401458", ("id-pl", "44051401458"))).code == 0


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("sampling: {ratio: 1.0}", "rules.yaml: found no part redaction"),
        ("redaction:\n  pattern: {}", "rules.yaml:2: redaction.pattern: found an unknown key"),
        ("redaction:\n  detectors:\n    mail: {}", "rules.yaml:3: redaction.detectors.mail: found"),
        (
            "redaction:\n  patterns:\n    a.b:\n      pattern: '('",
            "rules.yaml:4: redaction.patterns.a\\.b.pattern: found",
        ),
        ("redaction: [", "rules.yaml: "),
        ("", "rules.yaml: "),
    ],
)
def test_wrong_rules_are_named_with_line_and_key(bench: Bench, rules: str, words: str) -> None:
    done = bench(GOOD, rules=rules)
    assert done.code == 1
    assert words in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "samples.jsonl, line 2: found no JSON"),
        (sample("a", ("mail", "a")), "line 2, spans[0].detector: found 'mail', expected one of"),
        ({"text": 1}, "samples.jsonl, line 2, text: found 1, expected a text"),
    ],
)
def test_wrong_samples_are_named_with_line_and_key(bench: Bench, line: Any, words: str) -> None:
    done = bench(GOOD, line)
    assert done.code == 1
    assert words in done.err


def test_no_sample_at_all_is_an_error(bench: Bench) -> None:
    assert "found no sample" in bench("").err


def test_bytes_that_are_no_text_and_endless_lines_are_errors(bench: Bench) -> None:
    bench(GOOD)
    for body, words in ((b"\xff\n", "no UTF-8"), (b" " * 5_000_000, "more than 4 MiB")):
        (bench.folder / "bad.jsonl").write_bytes(body)
        done = bench.run(
            "redaction", "test", str(bench.folder / "rules.yaml"), str(bench.folder / "bad.jsonl")
        )
        assert done.code == 1
        assert words in done.err


def test_either_file_may_be_standard_input(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench(GOOD)
    rules, samples = (bench.folder / name for name in ("rules.yaml", "samples.jsonl"))
    for source, arguments in ((samples, [str(rules), "-"]), (rules, ["-", str(samples)])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
        assert bench.run("redaction", "test", *arguments).code == 0
    assert bench.run("redaction", "test", "-", "-").code == 64
    assert bench.run("redaction", "test", "no/such", str(samples)).code == 64


def test_the_detectors_of_this_machine_are_listed(bench: Bench) -> None:
    listed = json.loads(bench.run("redaction", "list", "-o", "json").out)
    assert [row["name"] for row in listed] == list(available())
    defaults = {row["name"] for row in listed if row["default"]}
    assert {"email", "id-cn"} <= defaults
    assert "id-pl" not in defaults
    assert "if named in the settings" in bench.run("redaction", "list").out
