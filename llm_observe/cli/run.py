"""``llm-observe run``: another program in this process's place, observed.

Loads neither typer nor rich, and of our own package only what checks the options: what stands
here is gone when the program starts.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_observe.cli.run_options import USAGE, make_parser, split
from llm_observe.cli.run_plan import environment, name_of, remark, shut_out
from llm_observe.errors import SettingsError

FAILED, CANNOT_EXECUTE, NOT_FOUND = 1, 126, 127
"""Exit codes; the last two are those of every shell (POSIX, "Exit Status for Commands")."""


def main(args: Sequence[str]) -> int:
    """Become the program. Returns only if that is not possible, with the exit code."""
    ours, rest = split(args)
    try:
        asked = make_parser().parse_args(ours)
    except SystemExit as ended:  # after --help, or a sentence about wrong usage
        return int(ended.code or 0)
    argv = [sys.executable, "-m", asked.module, *rest] if asked.module else rest
    if not argv:
        return _say("say which program to run. See llm-observe run --help.", USAGE)
    try:
        given = _given(asked, argv)
    except SettingsError as error:
        return _say(str(error), FAILED)
    except OSError as error:
        return _say(f"cannot read {asked.settings}: {error.strerror}", USAGE)
    return _become(argv, given)


def _given(asked: Any, argv: Sequence[str]) -> dict[str, Any]:
    """What observation inside the program needs to know."""
    if asked.server:
        _options().read_options({}, 0.0, server=asked.server)
    return {
        "service_name": asked.service_name,
        "server": asked.server,
        "settings": _settings(asked.settings) if asked.settings else None,
        "follow": asked.follow,
        "fallback_name": name_of(argv),
    }


def _settings(file: str) -> dict[str, Any]:
    schema = importlib.import_module("llm_observe.settings.schema")
    with Path(file).open("rb") as source:
        fragment: dict[str, Any] = schema.parse(source.read(schema.MAX_BYTES + 1))
    schema.validate(fragment)
    return fragment


def _options() -> Any:
    return importlib.import_module("llm_observe.agent.options")


def _become(argv: Sequence[str], given: Mapping[str, Any]) -> int:
    found = shutil.which(argv[0])
    if found is None:
        return _absent(argv[0])
    sentence = remark(Path(found), argv)
    if sentence:
        _say(sentence, 0)
    sys.stdout.flush()
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and a program inherits that
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execve(found, [*argv], _environment(Path(found), argv, given))  # noqa: S606  # the user's own program
    except FileNotFoundError:
        return _say(f"{argv[0]}: its interpreter was not found", NOT_FOUND)
    except OSError as error:
        return _say(f"{argv[0]}: cannot be executed: {error.strerror}", CANNOT_EXECUTE)


def _environment(found: Path, argv: Sequence[str], given: Mapping[str, Any]) -> dict[str, str]:
    if shut_out(found, argv) and not given["follow"]:
        return dict(os.environ)  # nobody would put it back
    return environment(os.environ, given)


def _absent(program: str) -> int:
    """What shells do: 126 for a file that is there but cannot be executed, else 127."""
    folders = [""] if os.sep in program else os.environ.get("PATH", os.defpath).split(os.pathsep)
    here = [path for folder in folders if (path := Path(folder, program)).exists()]
    if not here and not Path(program).is_file():
        return _say(f"{program}: not found", NOT_FOUND)
    hint = f" Did you mean: llm-observe run python {program}" if program.endswith(".py") else ""
    return _say(f"{program}: is not executable.{hint}", CANNOT_EXECUTE)


def _say(sentence: str, code: int) -> int:
    sys.stderr.write(f"llm-observe: {sentence}\n")
    return code
