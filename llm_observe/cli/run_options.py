"""The options of ``llm-observe run``, as a table, and where they end and the program begins."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

USAGE = 64
"""Exit code of wrong usage; the same as that of every other command."""


class Option(NamedTuple):
    """One option; without a ``metavar`` it takes no value."""

    flag: str
    name: str
    metavar: str | None
    sentence: str


OPTIONS = (
    Option("--service-name", "service_name", "NAME", "Name of the service; default OTEL_SERVICE_NAME, else the script's name."),
    Option("--server", "server", "URL", "The control plane; default LLM_OBSERVE_SERVER. Its token is read from LLM_OBSERVE_TOKEN."),
    Option("--settings", "settings", "FILE", "Settings of this program, YAML or JSON: stronger than environment variables, weaker than the program's own and the control plane's."),
    Option("--follow-children", "follow", None, "Observe Python programs that the program starts, too: workers of uvicorn, multiprocessing with spawn, subprocesses. What it forks is observed anyway."),
    Option("-m", "module", "MODULE", "Run a module of this Python, as python -m does; all further arguments are the module's."),
)  # fmt: skip

DESCRIPTION = """\
Run a program and observe its LLM calls, without editing it.

The program takes the place of this command: same process, terminal, signals and exit code. If it
cannot be observed, it runs all the same, and one line on stderr says why.
"""

EXAMPLES = """\
examples:
  llm-observe run python app.py
  llm-observe run --server http://127.0.0.1:4320 --service-name shop python -u app.py --port 80
  llm-observe run -m my_package.worker
  llm-observe run gunicorn --workers 4 shop:app
  llm-observe run --follow-children uvicorn --workers 4 shop:app
  llm-observe run streamlit run app.py

What the program says itself, by calling observe(), wins over the options; its limits hold.

exit codes: the program's own; 127 it was not found, 126 it cannot be executed, 1 the settings are
wrong, 64 wrong usage.
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, with the exit code of all our commands."""

    def error(self, message: str) -> NoReturn:
        """Wrong usage."""
        self.exit(USAGE, f"llm-observe: {message}. See llm-observe run --help.\n")


def make_parser() -> Parser:
    """The parser of what `split` calls our options."""
    parser = Parser(
        prog="llm-observe run",
        usage="llm-observe run [OPTIONS] PROGRAM [ARGUMENTS]\n       llm-observe run [OPTIONS] -m MODULE [ARGUMENTS]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for option in OPTIONS:
        if option.metavar is None:
            parser.add_argument(
                option.flag, dest=option.name, help=option.sentence, action="store_true"
            )
        else:
            parser.add_argument(
                option.flag, dest=option.name, help=option.sentence, metavar=option.metavar
            )
    return parser


def split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our options, and the rest: the program with its arguments, or the arguments of ``-m``.

    Ours end at the first word that is no option, after ``-m MODULE``, or at ``--``.
    """
    taking = {option.flag for option in OPTIONS if option.metavar}
    at = 0
    while at < len(args) and args[at].startswith("-") and args[at] != "-":
        word = args[at]
        if word == "--":
            return [*args[:at]], [*args[at + 1 :]]
        at += 2 if word in taking else 1
        if word.startswith("-m"):
            break
    return [*args[:at]], [*args[at:]]
