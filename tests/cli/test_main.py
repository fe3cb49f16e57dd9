"""The program as a whole: commands, exit codes, speed of loading."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llm_observe.cli.main import NOUNS, load, run

NOBODY = "http://127.0.0.1:1"


@pytest.mark.parametrize("name", NOUNS)
def test_every_command_has_help_with_a_sentence_and_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    assert "--" in capsys.readouterr().out
    assert load(name).name == name


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f" {name} " in out for name in NOUNS)
    assert "Exit codes" in out


def test_help_loads_no_command_and_nothing_heavy() -> None:
    heavy = {"httpx", "fastapi", "opentelemetry", "pandas", "llm_observe.control.client"}
    code = (
        "import sys\nfrom llm_observe.cli.main import run\nrun(['--help'])\n"
        f"print(sorted({heavy!r} & {{*sys.modules}}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"], ["agents", "--nonsense"], ["set"], ["set", "ratio"], ["apply"], ["history", "-n", "0"],
        ["apply", "-f", "no/such/file"], ["set", "a=1", "--wait", "--timeout", "soon"], ["token"],
        ["agents", "-o", "xml"],
    ],
)  # fmt: skip
def test_wrong_usage_is_64_with_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 64
    err = capsys.readouterr().err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["agents"], ["agent", "0"], ["set", "sampling.ratio=1"], ["history"], ["undo"], ["traces"],
        ["trace", "0"], ["settings", "show"], ["token", "list"],
    ],
)  # fmt: skip
def test_no_control_plane_is_3_with_its_address(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--server", NOBODY]) == 3
    err = capsys.readouterr().err
    assert err.startswith("llm-observe: ")
    assert NOBODY in err
    assert len(err.splitlines()) == 1


def test_a_wrong_address_is_said_without_trying(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["agents", "--server", "localhost:4320"]) == 1
    assert "no http:// or https:// URL" in capsys.readouterr().err


def test_a_value_that_yaml_cannot_read_is_refused_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["set", "sampling.ratio={", "--server", NOBODY]) == 1
    assert "sampling.ratio" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip()


def test_a_reader_that_leaves_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m llm_observe.cli settings schema | head -1; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
