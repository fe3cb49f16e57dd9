"""``llm-observe apply``: replace the settings by a file's."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from llm_observe.cli import options
from llm_observe.cli.output import Format
from llm_observe.cli.publish import Manner, publish
from llm_observe.settings.schema import MAX_BYTES, parse

app = typer.Typer()


@app.command()
def apply(
    file: Annotated[
        str, typer.Option("--file", "-f", metavar="FILE", help="YAML or JSON; - reads stdin.")
    ],
    service: options.Service = None,
    comment: options.Comment = "",
    wait: options.Wait = False,
    timeout: options.Timeout = "30s",
    yes: options.Yes = False,
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> int:
    """Replace the desired settings of all services, or of one, by a file's.

    A key that the file lacks is no longer set: apps follow their own code and environment there.

    Exit code with --wait: 0 every matched agent acknowledged, 1 one refused, 2 time-out.
    """
    document = read_document(file)
    manner = Manner(wait, options.seconds(timeout), yes, output)
    with options.connect(server, token) as client:
        change = partial(
            client.replace, document, service=service, comment=comment, author=options.author()
        )
        return publish(client, manner, partial(change, dry_run=True), change)


def read_document(file: str) -> dict[str, Any]:
    """A settings document from a file or from stdin.

    Raises:
        typer.BadParameter: The file cannot be read.
        SettingsError: It is no YAML or JSON mapping.
    """
    try:
        if file == "-":
            return parse(sys.stdin.buffer.read(MAX_BYTES + 1))
        with Path(file).open("rb") as source:
            return parse(source.read(MAX_BYTES + 1))
    except OSError as error:
        raise typer.BadParameter(f"Cannot read {file}: {error.strerror}.") from error
