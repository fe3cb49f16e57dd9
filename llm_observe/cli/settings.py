"""``llm-observe settings``: what is desired, which keys there are, and whether a file is right."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from llm_observe.cli import options
from llm_observe.cli.output import ExitCode, Format, dump, moment, note, say, table
from llm_observe.cli.publish import counted
from llm_observe.cli.settings_check import Remark, check
from llm_observe.settings.keys import key_rows
from llm_observe.settings.schema import MAX_BYTES, json_schema

app = typer.Typer(no_args_is_help=True)

_STDIN = Path("-")


@app.command()
def show(
    service: options.Service = None,
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Show the settings that are desired for all services, or for one on top of these.

    With -o yaml it prints the document alone, ready to be edited and given to apply.
    """
    with options.connect(server, token) as client:
        found = client.settings(service)
    if output is not Format.TABLE:
        dump(found if output is Format.JSON else found["document"], output)
        return
    scope = found.get("service") or "all services"
    if not found["document"]:
        say(f"Nothing is set for {scope}; apps follow their own code and environment.")
        return
    since = f"version {found['version']} of {moment(found['at'])}"
    say(f"# {scope}, {since}; matches {counted(len(found['matched']))}")
    dump(found["document"], Format.YAML)


@app.command()
def schema(output: options.Output = Format.TABLE) -> None:
    """List every key that can be set: what may stand there, and what it does.

    With -o json it prints the JSON Schema, for editors.
    """
    if output is not Format.TABLE:
        dump(json_schema(), output)
        return
    rows = ((key.path, key.allowed, key.default, key.sentence) for key in key_rows(json_schema()))
    table(("key", "value", "default", "what it does"), rows)


@app.command("check")
def check_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", allow_dash=True, help="YAML or JSON; - reads stdin."),
    ],
    output: options.Output = Format.TABLE,
) -> int:
    """Check files of settings without sending them anywhere.

    One line per problem: file, line, column, key, what was found, what was expected. Judged as an app
    on this machine would judge: detectors that are not installed, patterns that RE2 cannot read and
    limits of this environment (LLM_OBSERVE_LIMIT_...) count too. Destinations are not asked.

    Exit code: 0 all are right, 1 a problem, 64 a file cannot be read.
    """
    found = [remark for file in files for remark in check(_shown(file), _read(file), os.environ)]
    if output is not Format.TABLE:
        dump([remark.document() for remark in found], output)
    else:
        _tell(found, len(files))
    return int(ExitCode.FAILED if found else ExitCode.OK)


def _tell(found: list[Remark], files: int) -> None:
    for remark in found:
        say(str(remark))
    checked = "1 file" if files == 1 else f"{files} files"
    wrong = "1 problem" if len(found) == 1 else f"{len(found) or 'no'} problems"
    note(f"{checked} checked, {wrong}.")


def _shown(file: Path) -> str:
    return "(stdin)" if file == _STDIN else str(file)


def _read(file: Path) -> bytes:
    if file == _STDIN:
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with file.open("rb") as source:
            return source.read(MAX_BYTES + 1)
    except OSError as error:
        raise typer.BadParameter(f"Cannot read {file}: {error.strerror}.") from error
