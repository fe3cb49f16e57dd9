"""``llm-observe traces``: calls, newest first, and new ones as they come."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any

import typer

from llm_observe.cli import options
from llm_observe.cli.output import Format, cell, dump, duration, moment, say, table
from llm_observe.control.client import ControlClient, Json

app = typer.Typer()

COLUMNS = (
    "trace",
    "started",
    "service",
    "name",
    "model",
    "duration",
    "first token",
    "in",
    "out",
    "scores",
    "status",
)
NUMBERS = ("duration", "first token", "in", "out")
POLL_S = 1.0
REMEMBERED = 5000


@app.command()
def traces(
    limit: options.Limit = 20,
    service: options.Service = None,
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="Only this session.")] = None,
    error: Annotated[
        bool | None, typer.Option("--error/--no-error", help="Only failed ones, or only good ones.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Prompt or answer contains this.")
    ] = None,
    score: Annotated[
        str | None, typer.Option("--score", help="Only with a score of this name.")
    ] = None,
    score_min: Annotated[
        float | None, typer.Option("--score-min", help="Only with a score from this value on.")
    ] = None,
    score_max: Annotated[
        float | None, typer.Option("--score-max", help="Only with a score up to this value.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on and print new ones; Ctrl-C ends.")
    ] = False,
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> None:
    """List traces, newest first. With --follow, oldest first and on and on."""
    filters = {
        "service": service, "model": model, "session": session, "error": error, "text": text,
        "score": score, "score_min": score_min, "score_max": score_max,
    }  # fmt: skip
    with options.connect(server, token) as client:
        if follow:
            _follow(client, filters, limit, output)
            return
        found = list(islice(client.traces(**filters, limit=min(limit, 100)), limit))
    if output is not Format.TABLE:
        dump(found, output)
    elif not found:
        say("No trace here yet. Is sampling.ratio 0, or does a filter hide them?")
    else:
        table(COLUMNS, map(row, found), numbers=NUMBERS)


def _follow(client: ControlClient, filters: Json, limit: int, form: Format) -> None:
    for trace in new_traces(client, filters, limit):
        if form is Format.JSON:
            print(json.dumps(trace, ensure_ascii=False), flush=True)
        elif form is Format.YAML:
            dump([trace], form)
        else:
            say("  ".join(str(cell(value)) for value in row(trace)))


def new_traces(client: ControlClient, filters: Json, limit: int) -> Iterator[Json]:
    """The newest ``limit`` traces, oldest first, then every new one; never ends by itself."""
    seen: dict[str, None] = {}
    while True:
        newest = list(islice(client.traces(**filters, limit=min(limit, 100)), limit))
        fresh = [trace for trace in reversed(newest) if trace["trace_id"] not in seen]
        seen.update(dict.fromkeys(trace["trace_id"] for trace in fresh))
        for old in list(islice(seen, max(0, len(seen) - REMEMBERED))):
            del seen[old]
        yield from fresh
        time.sleep(POLL_S)


def row(trace: Json) -> tuple[Any, ...]:
    """One trace as the cells of `COLUMNS`."""
    return (
        trace["trace_id"],
        moment(trace.get("start")),
        trace.get("service"),
        trace.get("name"),
        trace.get("model"),
        duration(trace.get("duration_ms")),
        duration(trace.get("ttft_ms")),
        trace.get("tokens_in"),
        trace.get("tokens_out"),
        scores(trace.get("scores") or ()) or None,
        trace.get("error_type") or "error" if trace.get("error") else "ok",
    )


def scores(items: Iterable[Json]) -> str:
    """``helpful 0.5, tone kind``."""
    return ", ".join(f"{item['name']} {verdict(item)}" for item in items)


def verdict(score: Json) -> str:
    """A score's value, else its label."""
    value = score.get("value")
    return f"{value:g}" if isinstance(value, int | float) else str(score.get("label") or "–")
