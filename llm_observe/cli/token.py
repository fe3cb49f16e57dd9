"""``llm-observe token``: access tokens of the control plane."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from llm_observe.cli import options
from llm_observe.cli.output import Format, dump, moment, note, say, table

app = typer.Typer(no_args_is_help=True)


class Kind(StrEnum):
    """What a token opens."""

    INGEST = "ingest"
    ADMIN = "admin"


@app.command()
def create(
    kind: Annotated[Kind, typer.Argument(help="ingest for apps, admin for people and scripts.")],
    name: Annotated[str, typer.Option("--name", "-m", help="What it is for.")] = "",
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Make a token. Its value is shown this once, and kept nowhere."""
    with options.connect(server, token) as client:
        made = client.create_token(str(kind), name)
    if output is not Format.TABLE:
        dump(made, output)
        return
    say(made["value"])
    variable = "LLM_OBSERVE_TOKEN" if kind is Kind.INGEST else "LLM_OBSERVE_ADMIN_TOKEN"
    note(f"Token {made['id']}. Give it to programs as {variable}; it is not shown again.")


@app.command("list")
def list_(
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> None:
    """List the tokens, without their values."""
    with options.connect(server, token) as client:
        found = client.tokens()
    if output is not Format.TABLE:
        dump(found, output)
    elif not found:
        say("No token: on this machine alone, the control plane is open.")
    else:
        rows = (
            (t["id"], t["kind"], t["name"], moment(t["created"]), moment(t["last_used"]))
            for t in found
        )
        table(("id", "kind", "name", "made", "last used"), rows)


@app.command()
def delete(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As token list shows it.")],
    server: options.Server = None,
    token: options.Token = None,
) -> None:
    """Withdraw a token; it opens nothing from now on."""
    with options.connect(server, token) as client:
        client.delete_token(token_id)
    say(f"Token {token_id} is withdrawn.")
