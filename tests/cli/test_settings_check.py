"""``llm-observe settings check``: files of settings judged before anybody gets them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from llm_observe.cli.main import run
from llm_observe.errors import SettingsError
from llm_observe.policy import rules
from llm_observe.settings.schema import json_schema, parse, validate

WRONG = """\
# yaml-language-server: $schema=https://example.com/settings.schema.json
sampling:
  ratio: 1.5
capture:
  levle: full
destinations:
  x.y: {signals: [traces, logs]}
"""


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Code, lines on stdout and on stderr, of a check of files with these texts."""

    def checked(*texts: str, form: str = "table") -> tuple[int, list[str], str]:
        files = [tmp_path / f"{number}.yaml" for number, _ in enumerate(texts)]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        code = run(["settings", "check", *map(str, files), "-o", form])
        out, err = capsys.readouterr()
        return code, out.replace(f"{tmp_path}/", "").splitlines(), err

    return checked


def test_a_right_file_is_0_and_says_nothing_on_stdout(check: Any) -> None:
    assert check("sampling: {ratio: 0.5}\n", "") == (0, [], "2 files checked, no problems.\n")


def test_each_problem_is_a_line_with_place_key_found_and_expected(check: Any) -> None:
    code, lines, err = check(WRONG)
    assert code == 1
    assert [line.split(", expected")[0] for line in lines] == [
        "0.yaml:3:3: sampling.ratio: found 1.5",
        "0.yaml:5:3: capture.levle: found an unknown key",
        r'0.yaml:7:27: destinations.x\.y.signals.1: found "logs"',
    ]
    assert err == "1 file checked, 3 problems.\n"


def test_programs_get_the_same_as_json(check: Any) -> None:
    code, lines, _ = check("sampling: {}\n", WRONG, form="json")
    found = json.loads("\n".join(lines))
    assert code == 1
    assert found[0] | {"file": ""} == {
        "file": "", "line": 3, "column": 3, "path": "sampling.ratio", "found": "1.5",
        "expected": "a number of at most 1",
    }  # fmt: skip
    assert {item["file"][-6:] for item in found} == {"1.yaml"}


@pytest.mark.parametrize(
    ("text", "place"),
    [("a: 1\na: 2\n", "2:1"), ("a: [\n", "2:1"), ("- 1\n", "1:1"), ("a: &x 1\nb: *x\n", "2:4")],
)
def test_what_is_no_document_of_settings_is_shown_where_it_ends_to_be_one(
    check: Any, text: str, place: str
) -> None:
    code, lines, _ = check(text)
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"0.yaml:{place}: (document): ")


def test_what_an_agent_here_could_not_do_is_a_problem(
    check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = [name for name in rules.available() if name != "id-pl"]
    monkeypatch.setattr(rules, "available", lambda: tuple(absent))
    monkeypatch.setenv("LLM_OBSERVE_LIMIT_CAPTURE_LEVEL", "metadata")
    code, lines, _ = check(
        "redaction:\n  detectors: {id-pl: {}}\n  patterns: {a: {pattern: '(?=x)'}}\n"
        "capture: {level: full}\n"
    )
    assert code == 1
    assert [line.split(":")[1:4] for line in lines] == [
        ["2", "15", " redaction.detectors.id-pl"],
        ["3", "18", " redaction.patterns.a.pattern"],
        ["4", "11", " capture.level"],
    ]
    assert "a detector that is not installed here" in lines[0]


def test_a_secret_in_a_file_is_not_repeated(check: Any) -> None:
    _, lines, err = check("destinations: {a: {headers: {authorization: Bearer s3cret}}}\n")
    assert len(lines) == 1
    assert "s3cret" not in lines[0] + err


def test_stdin_is_read_and_a_missing_file_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"sampling: {ratio: 2}")))
    assert run(["settings", "check", "-"]) == 1
    assert capsys.readouterr().out.startswith("(stdin):1:12: sampling.ratio")
    assert run(["settings", "check", "no/such/file"]) == 64


@pytest.mark.parametrize(
    "text",
    [
        "sampling: {ratio: 0.5, rules: {a: {match: {model: 'x*'}, ratio: 1}}}",
        "capture: {level: redacted, input: off, rules: {a: {level: off}}}",
        "redaction: {detectors: {email: {action: hash}}, allow: ['*@a.org']}",
        "destinations: {a: {endpoint: 'https://a', signals: [traces], timeout_s: 5}}",
        WRONG, "capture: {level: all}", "destinations: {a: {timeout_s: 0}}", "sampling: []",
        "sampling: {rules: {'': {}}}", "redaction: {allow: 'x'}",
    ],
)  # fmt: skip
def test_an_editor_with_the_schema_says_the_same(text: str) -> None:
    """The published schema knows types, names and bounds; `check` knows more."""
    document = parse(text.encode())
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    assert validator.is_valid(document) is is_right(document)


def is_right(document: dict[str, Any]) -> bool:
    try:
        validate(document)
    except SettingsError:
        return False
    return True


@pytest.mark.parametrize(
    ("typed", "offered"), [("settings ch", "check"), ("settings check --ou", "--output")]
)
def test_the_shell_completes_the_command_and_its_options(typed: str, offered: str) -> None:
    words = f"llm-observe {typed}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), COMPLETE: "complete_bash"}
    program = "from llm_observe.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **asked}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == [offered]


COMPLETE = "_LLM_OBSERVE_COMPLETE"
