"""What ``llm-observe run`` hands to the program, and what it can tell about it beforehand.

All of it travels in two environment variables: PYTHONPATH, with the folder of a ``sitecustomize``
in front, and LLM_OBSERVE_RUN, a JSON object. That module puts both back
(`llm_observe.autoload.sitecustomize`). No token is among it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

VARIABLE = "LLM_OBSERVE_RUN"
FOLDER = str(Path(__file__).parents[1] / "autoload")

_PYTHON = re.compile(r"(python|pypy)[0-9.]*w?(\.exe)?")
_EXEC_LINE = re.compile(r"exec' ['\"]?([^'\"]+?)['\"]? \"\$0\"")
_TAKING = "WX"
_HIDING = {
    "S": "does not load what starts observation",
    "I": "ignores PYTHONPATH",
    "E": "ignores PYTHONPATH",
}


def environment(environ: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, str]:
    """The program's environment: as ours, with what starts observation."""
    before = _paths(environ)
    known = {**given, "pythonpath": before}
    paths = [FOLDER, before] if before else [FOLDER]
    return {**environ, "PYTHONPATH": os.pathsep.join(paths), VARIABLE: json.dumps(known)}


def _paths(environ: Mapping[str, str]) -> str | None:
    """PYTHONPATH as it was, also before a ``run`` around this one."""
    text = environ.get("PYTHONPATH")
    if text is None or FOLDER not in text.split(os.pathsep):
        return text
    kept = [path for path in text.split(os.pathsep) if path != FOLDER]
    return os.pathsep.join(kept) if kept else None


def remark(path: Path, argv: Sequence[str]) -> str | None:
    """Why the program will not be observed, or not itself, as far as one can see from outside."""
    python, options = interpreter(path, argv)
    if python is None:
        return (
            f"{argv[0]} is no Python program: it runs as it is, and Python programs that it "
            "starts are observed"
        )
    flag = _hiding(options)
    if flag is None:
        return None
    return f"{python} -{flag} {_HIDING[flag]}: the program runs, and is not observed"


def shut_out(path: Path, argv: Sequence[str]) -> bool:
    """Whether the program is a Python that would leave what starts observation to its children."""
    return _hiding(interpreter(path, argv)[1]) is not None


def _hiding(options: Sequence[str]) -> str | None:
    return next((flag for flag in flags(options) if flag in _HIDING), None)


def interpreter(path: Path, argv: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """The Python that runs a program, and the words after it; None if it is no Python program."""
    if _PYTHON.fullmatch(path.name):
        return path.name, argv[1:]
    words = _shebang(path)
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    if words and _PYTHON.fullmatch(Path(words[0]).name):
        return Path(words[0]).name, words[1:]
    return None, ()


def flags(words: Sequence[str]) -> Iterator[str]:
    """The single-letter options of a Python command line."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("--"):
            skip = word == "--check-hash-based-pycs"
        elif not word.startswith("-") or word == "-":
            return
        else:
            for at, letter in enumerate(word[1:], 2):
                yield letter
                if letter in "cm":
                    return
                if letter in _TAKING:
                    skip = at == len(word)
                    break


def name_of(argv: Sequence[str]) -> str:
    """A name for processes of this program that have none themselves."""
    if _PYTHON.fullmatch(Path(argv[0]).name):
        words = iter(argv[1:])
        for word in words:
            if word == "-m":
                return next(words, "").removesuffix(".__main__")
            if word == "-c":
                break
            if word in ("-W", "-X"):
                next(words, None)
            elif not word.startswith("-"):
                return Path(word).stem
        return ""
    return Path(argv[0]).stem


def _shebang(path: Path) -> list[str]:
    """The words of a script's first line. Installers write a long one as shell, on two lines."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return []
    if not head.startswith(b"#!"):
        return []
    first, _, rest = head.decode("utf-8", "replace").partition("\n")
    if first.startswith("#!/bin/sh") and (found := _EXEC_LINE.search(rest)):
        return [found[1]]
    return first[2:].split()
