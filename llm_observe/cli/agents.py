"""``llm-observe agents``: who is connected, and what they follow."""

from __future__ import annotations

import time
from itertools import islice
from typing import Annotated

import typer

from llm_observe.cli import options
from llm_observe.cli.output import Format, age, dump, say, table
from llm_observe.control.client import Json

app = typer.Typer()

COLUMNS = ("agent", "service", "version", "connected", "health", "settings", "last seen")


@app.command()
def agents(
    service: options.Service = None,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="Only agents in this state."),
    ] = None,
    limit: options.Limit = 100,
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> None:
    """List the agents: service, health, and whether they follow the desired settings."""
    with options.connect(server, token) as client:
        found = client.agents(service=service, state=state, limit=min(limit, 100))
        items = list(islice(found, limit))
        where = client.server
    if output is not Format.TABLE:
        dump(items, output)
    elif not items:
        say(f"No agent. Start an app with LLM_OBSERVE_SERVER={where} to see it here.")
    else:
        now = time.time()
        table(COLUMNS, (_row(item, now) for item in items))


def _row(item: Json, now: float) -> tuple[object, ...]:
    config = item.get("config") or {}
    number = f" (version {config['version']})" if config.get("version") else ""
    return (
        item["uid"],
        item.get("service"),
        item.get("version"),
        item.get("transport") if item.get("connected") else "offline",
        health(item.get("health")),
        f"{config.get('state', '')}{number}",
        f"{age(item.get('last_seen'), now)} ago",
    )


def health(report: Json | None) -> str:
    """One word or a reason: ``healthy``, ``unhealthy: disk full``, or nothing reported."""
    if not report:
        return "not reported"
    word = report.get("status") or ("healthy" if report.get("healthy") else "unhealthy")
    return f"{word}: {report['last_error']}" if report.get("last_error") else str(word)
