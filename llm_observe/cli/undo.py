"""``llm-observe undo``: restore what held before a version."""

from __future__ import annotations

from typing import Annotated

import typer

from llm_observe.cli import options
from llm_observe.cli.output import Format
from llm_observe.cli.publish import Manner, publish
from llm_observe.control.client import ControlClient, Json
from llm_observe.errors import NotFound
from llm_observe.settings.documents import Fragment, split_path, with_value, without

app = typer.Typer()


@app.command()
def undo(
    version: Annotated[
        int | None,
        typer.Argument(metavar="VERSION", min=1, help="The version to undo; else the newest."),
    ] = None,
    service: options.Service = None,
    wait: options.Wait = False,
    timeout: options.Timeout = "30s",
    yes: options.Yes = False,
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> int:
    """Make a new version that restores what held before a version; the history stays whole.

    Exit code with --wait: 0 every matched agent acknowledged, 1 one refused, 2 time-out.
    """
    with options.connect(server, token) as client:
        undone = _found(client, version, service)
        scope = undone.get("service")
        manner = Manner(wait, options.seconds(timeout), yes, output)
        return publish(
            client,
            manner,
            preview=lambda: client.replace(
                turned_back(client.settings(scope)["document"], undone["changes"]),
                service=scope,
                dry_run=True,
            ),
            send=lambda: client.undo(undone["version"], service=scope, author=options.author()),
        )


def _found(client: ControlClient, number: int | None, service: str | None) -> Json:
    if number is not None:
        return client.version(number)
    newest = next(client.versions(service=service, limit=1), None)
    if newest is None:
        raise NotFound("there is no version to undo; nothing was ever set")
    return newest


def turned_back(document: Fragment, changes: list[Json]) -> Fragment:
    """The document with some changes taken back. A grant that has ended does not come back."""
    for change in changes:
        path, value = change["path"], change["before"]
        if value is None:
            document = without(document, path)
        elif not _ended_grant(document, path):
            document = with_value(document, path, value)
    return document


def _ended_grant(document: Fragment, path: str) -> bool:
    names = split_path(path)
    grants = document.get("capture", {}).get("grants", {})
    return names[:2] == ("capture", "grants") and names[2] not in grants
