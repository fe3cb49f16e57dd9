"""``llm-observe redaction``: try rules on samples before they are published; which detectors there are."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from llm_observe.cli import options
from llm_observe.cli.output import ExitCode, Format, dump, say, table
from llm_observe.cli.redaction_trial import Trial, read_rules, run_trial
from llm_observe.policy.rules import available, usual

app = typer.Typer(no_args_is_help=True)

_MOST_LINES = 100


@app.command("test")
def try_(
    rules: Annotated[
        str,
        typer.Argument(
            metavar="RULES", help="Settings (YAML or JSON) with a part redaction; - reads stdin."
        ),
    ],
    samples: Annotated[
        str, typer.Argument(metavar="SAMPLES", help="JSON lines, one sample each; - reads stdin.")
    ],
    output: options.Output = Format.TABLE,
) -> int:
    """Try redaction rules on samples: hits, misses, wrong hits and time, by rule.

    A sample is {"text": "…", "spans": [{"detector": "email", "text": "joe@example.com"}]}; a span may
    have start and end (characters) instead of text. Without spans it only shows what is found.

    Exit code: 0 every labelled span was found, 1 one was missed or a file is wrong.
    """
    if rules == samples == "-":
        raise typer.BadParameter("Rules and samples cannot both come from stdin.")
    with _opened(rules) as source:
        redaction = read_rules(source, rules)
    with _opened(samples) as source:
        trial = run_trial(redaction, source, samples)
    if output is not Format.TABLE:
        dump(trial.document(), output)
    else:
        _show(trial)
    return int(ExitCode.FAILED if trial.missed else ExitCode.OK)


@app.command("list")
def list_(output: options.Output = Format.TABLE) -> None:
    """List the detectors of this machine, and which of them run unless switched off."""
    by_default = {detector.name for detector in usual()}
    rows = [(name, name in by_default) for name in available()]
    if output is not Format.TABLE:
        dump([{"name": name, "default": runs} for name, runs in rows], output)
        return
    table(
        ("detector", "runs"),
        ((name, "by default" if runs else "if named in the settings") for name, runs in rows),
    )


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(file).open("rb") as source:
            yield source
    except OSError as error:
        raise typer.BadParameter(f"Cannot read {file}: {os.strerror(error.errno or 0)}.") from error


def _show(trial: Trial) -> None:
    columns = ("rule", "action", "finds", "hits", "missed", "wrong", "µs/sample")
    table(columns, map(_row, trial.rules()), numbers=columns[2:])
    labelled = f"{trial.labelled} of them labelled"
    say(f"\n{trial.samples} samples, {labelled}; {trial.microseconds:.1f} µs each with all rules.")
    for line in trial.remarks[:_MOST_LINES]:
        where = f"line {line['line']}: {line['what']} {line['rule']}"
        say(f"{where} at {line['start']}–{line['end']}: {line['text']}")
    if len(trial.remarks) > _MOST_LINES:
        say(f"… and {len(trial.remarks) - _MOST_LINES} more; -o json shows all of them.")


def _row(rule: dict[str, Any]) -> tuple[Any, ...]:
    names = ("rule", "action", "finds", "hits", "missed", "wrong")
    return (*(rule[name] for name in names), f"{rule['microseconds']:.1f}")
