"""What is handed to a program that is run, and what can be seen of it from outside."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from llm_observe.cli.run_plan import FOLDER, VARIABLE, environment, flags, name_of, remark


def script(folder: Path, text: str) -> Path:
    path = folder / "tool"
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("before", [None, "", "/a", "/a::/b"])
def test_our_folder_stands_before_what_was_there(before: str | None) -> None:
    environ = {"HOME": "/h"} | ({} if before is None else {"PYTHONPATH": before})
    made = environment(environ, {"server": "http://x"})
    assert made["PYTHONPATH"] == (FOLDER + os.pathsep + before if before else FOLDER)
    assert json.loads(made[VARIABLE]) == {"server": "http://x", "pythonpath": before}
    assert made["HOME"] == "/h"


@pytest.mark.parametrize("before", [None, "/a"])
def test_a_run_around_a_run_is_one_run(before: str | None) -> None:
    environ = {} if before is None else {"PYTHONPATH": before}
    once = environment(environ, {"server": "one"})
    twice = environment(once, {"server": "two"})
    assert twice["PYTHONPATH"] == once["PYTHONPATH"]
    assert json.loads(twice[VARIABLE]) == {"server": "two", "pythonpath": before}


def test_the_folder_holds_a_sitecustomize_and_nothing_that_could_hide_a_module() -> None:
    names = {path.name for path in Path(FOLDER).iterdir()} - {"__pycache__"}
    assert names == {"__init__.py", "sitecustomize.py"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["app.py", "-I"], ""),
        (["-u", "-I", "app.py"], "uI"),
        (["-uS", "app.py"], "uS"),
        (["-W", "-S", "app.py", "-I"], "W"),
        (["-Wignore", "-E", "x"], "WE"),
        (["-X", "dev", "-sE"], "XsE"),
        (["-c", "-S"], "c"),
        (["-Sc", "x", "-I"], "Sc"),
        (["-m", "http.server", "-I"], "m"),
        (["--check-hash-based-pycs", "never", "-I"], "I"),
        (["--version"], ""),
        (["-", "-I"], ""),
        ([], ""),
    ],
)
def test_the_options_of_python_end_where_the_program_begins(words: list[str], found: str) -> None:
    assert "".join(flags(words)) == found


@pytest.mark.parametrize("flag", ["-S", "-I", "-E", "-uE"])
def test_a_python_that_would_not_load_us_is_told_beforehand(flag: str) -> None:
    sentence = remark(Path("/usr/bin/python3.12"), ["python3.12", flag, "app.py"])
    assert sentence is not None
    assert sentence.startswith(f"python3.12 -{flag[-1]} ")
    assert sentence.endswith("the program runs, and is not observed")


@pytest.mark.parametrize(
    "first",
    [
        "#!/usr/bin/python3",
        "#!/usr/bin/env python3",
        "#!/usr/bin/env -S python3 -u",
        "#! /opt/venv/bin/python",
        "#!/bin/sh\n'''exec' \"/a long/path with spaces/bin/python\" \"$0\" \"$@\"\n' '''",
    ],
)
def test_a_script_of_python_needs_no_remark(tmp_path: Path, first: str) -> None:
    assert remark(script(tmp_path, f"{first}\nprint(1)\n"), ["tool", "-I"]) is None


def test_a_script_whose_first_line_shuts_us_out_gets_one(tmp_path: Path) -> None:
    assert "python3 -I " in str(remark(script(tmp_path, "#!/usr/bin/python3 -I\n"), ["tool"]))


@pytest.mark.parametrize("text", ["#!/bin/sh\necho\n", "\x7fELF…", "", "#!\n", "#!/usr/bin/env\n"])
def test_what_is_no_python_gets_one_sentence(tmp_path: Path, text: str) -> None:
    assert "tool is no Python program" in str(remark(script(tmp_path, text), ["tool"]))


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["python", "app.py"], "app"),
        (["/usr/bin/python3", "-u", "dir/shop.py", "x"], "shop"),
        (["python", "-W", "error", "-X", "dev", "shop.py"], "shop"),
        (["python", "-m", "shop.worker"], "shop.worker"),
        (["python", "-m", "shop.__main__"], "shop"),
        (["python", "-c", "print(1)"], ""),
        (["python"], ""),
        (["gunicorn", "shop:app"], "gunicorn"),
        (["./start.sh"], "start"),
    ],
)
def test_processes_without_a_name_get_that_of_the_program(argv: list[str], name: str) -> None:
    assert name_of(argv) == name
