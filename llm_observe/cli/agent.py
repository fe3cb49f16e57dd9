"""``llm-observe agent UID``: one agent, with desired, acknowledged and effective side by side."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from llm_observe.cli import options
from llm_observe.cli.agents import health
from llm_observe.cli.output import Format, age, dump, moment, say, table
from llm_observe.cli.publish import shown
from llm_observe.control.client import ControlClient, Json
from llm_observe.errors import NotFound

app = typer.Typer()


@app.command()
def agent(
    uid: Annotated[
        str, typer.Argument(metavar="UID", help="Its uid, or a unique beginning of it.")
    ],
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Show one agent: health, libraries, and each key's desired and effective value and layer."""
    with options.connect(server, token) as client:
        found = client.agent(full_uid(client, uid))
    if output is not Format.TABLE:
        dump(found, output)
        return
    now = time.time()
    for line in (*_facts(found, now), *_truths(found, now)):
        say(line)
    _keys(found, now)
    _libraries(found)
    _events(found)


def full_uid(client: ControlClient, beginning: str) -> str:
    """The one uid that begins so.

    Raises:
        NotFound: None does, or several.
    """
    matches = [a["uid"] for a in client.agents() if a["uid"].startswith(beginning.lower())]
    if len(matches) == 1:
        return str(matches[0])
    raise NotFound(f"{len(matches) or 'no'} agents have a uid that begins with {beginning!r}")


def _facts(found: Json, now: float) -> list[str]:
    where = found.get("transport") if found.get("connected") else found.get("state") or "offline"
    place = f" on {found['host']}, process {found['pid']}" if found.get("host") else ""
    return [
        f"{found['service'] or '(no service name)'} {found.get('version') or ''}  {found['uid']}",
        f"{where}{place}, last seen {age(found.get('last_seen'), now)} ago",
        f"health: {health(found.get('health'))}",
        f"capabilities: {', '.join(found.get('capabilities') or ['none reported'])}",
    ]


def _truths(found: Json, now: float) -> list[str]:
    desired, said, held = (found.get(k) or {} for k in ("desired", "acknowledged", "effective"))
    lines = ["", f"settings: {found['config']['state']}{_because(found)}"]
    if desired.get("version"):
        lines.append(f"  desired: version {desired['version']}, {_ago(desired.get('since'), now)}")
    if said.get("at"):
        lines.append(f"  acknowledged: {said['state']}, {_ago(said['at'], now)}")
    lines += [
        f"    {p['path']}: found {p['found']}, expected {p['expected']}"
        for p in said.get("problems") or []
    ]
    lines.append(f"  in force: {_reported(held, now)}")
    return lines


def _because(found: Json) -> str:
    reason = found["config"].get("reason") or found.get("reason")
    return f" ({reason})" if reason else ""


def _reported(held: Json, now: float) -> str:
    return f"as reported {_ago(held['at'], now)}" if held.get("at") else "not reported"


def _ago(at: object, now: float) -> str:
    return f"{age(at, now)} ago"


def _keys(found: Json, now: float) -> None:
    keys = found.get("keys") or []
    if keys:
        rows = (
            (
                k["path"],
                shown(k["desired"]),
                shown(k["effective"]),
                k["layer"],
                age(k["since"], now),
            )
            for k in keys
        )
        say("")
        table(("key", "desired", "effective", "from", "since"), rows)
    for file in () if keys else found.get("files") or ():
        say(f"\n# {file['name'] or '(unnamed)'} {file['content_type']}")
        say(file["text"] if file["text"] is not None else f"({file['size']} bytes, no text)")


def _libraries(found: Json) -> None:
    libraries = found.get("instrumentors") or []
    if libraries:
        say("")
        rows = ((i["name"], i["version"], i["state"], i["reason"]) for i in libraries)
        table(("library", "version", "tracing", "reason"), rows)


def _events(found: Json) -> None:
    for event in (found.get("events") or [])[:10]:
        say(f"{moment(event['at'])}  {event['kind']}  {event['text']}")
