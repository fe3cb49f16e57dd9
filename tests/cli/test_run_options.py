"""Where the options of ``run`` end, and what is said about them."""

from __future__ import annotations

import pytest

from llm_observe.cli.main import load
from llm_observe.cli.run_options import OPTIONS, make_parser, split


@pytest.mark.parametrize(
    ("args", "ours", "rest"),
    [
        (["python", "app.py"], [], ["python", "app.py"]),
        (["--server", "u", "python", "--server", "x"], ["--server", "u"], ["python", "--server", "x"]),
        (["--server=u", "python"], ["--server=u"], ["python"]),
        (["--follow-children", "gunicorn", "-w", "4"], ["--follow-children"], ["gunicorn", "-w", "4"]),
        (["-m", "pkg", "--help"], ["-m", "pkg"], ["--help"]),
        (["-mpkg", "-m", "x"], ["-mpkg"], ["-m", "x"]),
        (["--follow-children", "-m", "pkg"], ["--follow-children", "-m", "pkg"], []),
        (["--", "-odd-name", "a"], [], ["-odd-name", "a"]),
        (["--server", "u", "--", "python"], ["--server", "u"], ["python"]),
        (["-"], [], ["-"]),
        (["--server"], ["--server"], []),
        ([], [], []),
    ],
)  # fmt: skip
def test_the_programs_words_are_its_own(args: list[str], ours: list[str], rest: list[str]) -> None:
    assert split(args) == (ours, rest)


def test_help_names_every_option_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(option.flag in text for option in OPTIONS)
    assert "llm-observe run gunicorn" in text
    assert "127" in text


@pytest.mark.parametrize("args", [["--nonsense"], ["--server"], ["--serv", "u"], ["-m"]])
def test_wrong_usage_is_64_with_one_sentence(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args(args)
    assert ended.value.code == 64
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("llm-observe: ")
    assert line.endswith("See llm-observe run --help.")


def test_the_list_of_commands_knows_the_same_options() -> None:
    known = {name for parameter in load("run").params for name in parameter.opts}
    assert known - {"program", "--help", "-h"} == {option.flag for option in OPTIONS}
