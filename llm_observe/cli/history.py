"""``llm-observe history``: the versions of the settings."""

from __future__ import annotations

from itertools import islice

import typer

from llm_observe.cli import options
from llm_observe.cli.output import Format, dump, moment, say
from llm_observe.cli.publish import shown
from llm_observe.control.client import Json

app = typer.Typer()


@app.command()
def history(
    service: options.Service = None,
    limit: options.Limit = 20,
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> None:
    """List the versions of the settings, newest first: who, when, why, and what changed."""
    with options.connect(server, token) as client:
        versions = list(islice(client.versions(service=service, limit=min(limit, 100)), limit))
    if output is not Format.TABLE:
        dump(versions, output)
    elif not versions:
        say("No version yet. Make one with: llm-observe set sampling.ratio=0.5")
    for version in versions if output is Format.TABLE else ():
        _show(version)


def _show(version: Json) -> None:
    scope = version.get("service") or "all services"
    undone = f" (undoes {version['undone_of']})" if version.get("undone_of") else ""
    who = version.get("author") or "unknown"
    say(f"{version['version']}  {moment(version['at'])}  {who}  {scope}{undone}")
    if version.get("comment"):
        say(f"     “{version['comment']}”")
    for change in version.get("changes") or []:
        say(f"     {change['path']}: {shown(change['before'])} → {shown(change['after'])}")
