"""``llm-observe set``: change single settings."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from llm_observe.cli import options
from llm_observe.cli.output import Format
from llm_observe.cli.publish import Manner, publish
from llm_observe.errors import Problem, SettingsError
from llm_observe.settings.documents import split_path
from llm_observe.settings.schema import parse

app = typer.Typer()


@app.command()
def set_(
    assignments: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH=VALUE…", help="Values are read as YAML: 0.5, off, [traces]."),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option("--unset", "-u", metavar="PATH", help="Have no opinion on it any more."),
    ] = None,
    service: options.Service = None,
    comment: options.Comment = "",
    wait: options.Wait = False,
    timeout: options.Timeout = "30s",
    yes: options.Yes = False,
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> int:
    """Change single settings, for all services or one, while the programs run.

    Raising capture.level asks first on a terminal; in a script it is only said on stderr.

    Exit code with --wait: 0 every matched agent acknowledged, 1 one refused, 2 time-out.
    """
    values, gone = assigned(assignments or []), tuple(unset or ())
    if not values and not gone:
        raise typer.BadParameter(
            "Give PATH=VALUE or --unset PATH. See: llm-observe settings schema."
        )
    manner = Manner(wait, options.seconds(timeout), yes, output)
    with options.connect(server, token) as client:
        change = partial(
            client.change, values, gone, service=service, comment=comment, author=options.author()
        )
        return publish(client, manner, partial(change, dry_run=True), change)


def assigned(assignments: list[str]) -> dict[str, Any]:
    """``["sampling.ratio=0.5"]`` to ``{"sampling.ratio": 0.5}``.

    Raises:
        typer.BadParameter: No ``=``, an empty name, or one path twice.
        SettingsError: A value that YAML cannot read.
    """
    values: dict[str, Any] = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        path = path.strip()
        if not equals or not all(split_path(path)):
            raise typer.BadParameter(f"{text!r} is no PATH=VALUE, like sampling.ratio=0.5.")
        if path in values:
            raise typer.BadParameter(f"{path} is given twice.")
        values[path] = scalar(path, value)
    return values


def scalar(path: str, text: str) -> Any:
    """A value as YAML 1.2 reads it, so that ``off`` stays a word.

    Raises:
        SettingsError: YAML cannot read it, or it is empty.
    """
    try:
        document = parse(b"value: " + text.encode())
    except SettingsError as error:
        raise SettingsError([Problem(path, repr(text), "a value that YAML can read")]) from error
    if document.keys() != {"value"} or document["value"] is None:
        raise SettingsError([Problem(path, repr(text), "a value; to have no opinion use --unset")])
    return document["value"]
