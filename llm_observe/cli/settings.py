"""``llm-observe settings``: what is desired, and which keys there are."""

from __future__ import annotations

import typer

from llm_observe.cli import options
from llm_observe.cli.keys import key_rows
from llm_observe.cli.output import Format, dump, moment, say, table
from llm_observe.cli.publish import counted
from llm_observe.settings.schema import json_schema

app = typer.Typer(no_args_is_help=True)


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
