"""``llm-observe capture``: record more for some time, see who does, end it before its time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from llm_observe.cli import options
from llm_observe.cli.output import Format, dump, moment, note, say, table
from llm_observe.cli.publish import Manner, publish
from llm_observe.control.client import Json

app = typer.Typer(no_args_is_help=True)

_MATCHED = ("user", "model", "session", "provider", "route")


def _pattern(name: str, meant: str) -> Any:
    return typer.Option(f"--{name}", metavar="PATTERN", help=f"{meant} Wildcards: * and ?.")


@app.command()
def grant(
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long: 15m, 2h, 90s. At most 7 days.")
    ] = "",
    until: Annotated[
        str,
        typer.Option(
            "--until",
            metavar="MOMENT",
            help="Until when, with its time zone: 2026-12-01T18:00:00Z.",
        ),
    ] = "",
    level: Annotated[str, typer.Option("--level", help="redacted or full.")] = "full",
    user: Annotated[str, _pattern("user", "Only calls of this user.")] = "",
    model: Annotated[str, _pattern("model", "Only calls of this model.")] = "",
    session: Annotated[str, _pattern("session", "Only calls of this session.")] = "",
    provider: Annotated[str, _pattern("provider", "Only calls of this provider.")] = "",
    route: Annotated[str, _pattern("route", "Only calls in web requests of this route.")] = "",
    service: options.Service = None,
    comment: options.Comment = "",
    wait: options.Wait = False,
    timeout: options.Timeout = "30s",
    yes: options.Yes = False,
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> int:
    """Record more for some time: it ends by itself, whatever becomes of server and network.

    Says first which agents it reaches, and asks on a terminal.

    Exit code with --wait: 0 every matched agent acknowledged, 1 one refused, 2 time-out.
    """
    match = dict(zip(_MATCHED, (user, model, session, provider, route), strict=True))
    wish: dict[str, Any] = {
        "service": service, "level": level, "comment": comment, "author": options.author(),
        "match": {name: pattern for name, pattern in match.items() if pattern},
        **_ending(for_, until),
    }  # fmt: skip
    manner = Manner(wait, options.seconds(timeout), yes, output)
    with options.connect(server, token) as client:
        return publish(
            client,
            manner,
            preview=lambda: _reaching(client.begin_grant(wish, dry_run=True)),
            send=lambda: _begun(client.begin_grant(wish), output),
        )


def _ending(for_: str, until: str) -> dict[str, Any]:
    if bool(for_) == bool(until):
        raise typer.BadParameter("Give either --for or --until.")
    return {"until": until} if until else {"for_s": options.seconds(for_, most=604_800)}


def _reaching(preview: Json) -> Json:
    change: Json = preview["change"]
    note(f"It ends by itself at {moment(preview['until'])}.")
    for skipped in change.get("skipped") or []:
        note(f"  not reached: {skipped['uid']}: {skipped['reason']}")
    return change


def _begun(answer: Json, output: Format) -> Json:
    if output is Format.TABLE:
        say(f"Grant {answer['id']} until {moment(answer['until'])}.")
        say(f"End it before with: llm-observe capture revoke {answer['id']}")
    return {**answer["change"], "id": answer["id"], "until": answer["until"]}


@app.command()
def grants(
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> None:
    """List the grants: where each is in force, and how long still."""
    with options.connect(server, token) as client:
        found = list(client.grants())
    if output is not Format.TABLE:
        dump(found, output)
    elif not found:
        say("No grant. Begin one with: llm-observe capture grant --for 15m --service NAME")
    else:
        table(("id", "state", "level", "for", "calls", "left", "agents", "by"), _rows(found))


def _rows(found: list[Json]) -> Iterator[tuple[object, ...]]:
    now = time.time()
    for item in found:
        calls = ", ".join(f"{name} {value}" for name, value in item["match"].items()) or "all"
        left = max(0, round(item["until"] - now))
        yield (
            item["id"], item["state"], item["level"], item["service"] or "all services", calls,
            f"{left // 60} min {left % 60} s", len(item["agents"]), item["author"],
        )  # fmt: skip


@app.command()
def revoke(
    grant_id: Annotated[str, typer.Argument(metavar="ID", help="As capture grants shows it.")],
    wait: options.Wait = False,
    timeout: options.Timeout = "30s",
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> int:
    """End a grant now, in every agent. It never begins again.

    Exit code with --wait: 0 every matched agent acknowledged, 1 one refused, 2 time-out.
    """
    manner = Manner(wait, options.seconds(timeout), True, output)
    with options.connect(server, token) as client:
        return publish(client, manner, preview=dict, send=lambda: client.end_grant(grant_id))
