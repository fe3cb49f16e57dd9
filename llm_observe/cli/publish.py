"""What ``set``, ``apply`` and ``undo`` have in common: ask, send, show, wait, judge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer
from rich.live import Live
from rich.text import Text

from llm_observe.cli.output import ExitCode, Format, clean, console, dump, note, say, table
from llm_observe.control.client import FINAL_STATES, ControlClient, Json
from llm_observe.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Manner:
    """How a change is published."""

    wait: bool
    timeout_s: float
    yes: bool
    form: Format


def publish(
    client: ControlClient, manner: Manner, preview: Callable[[], Json], send: Callable[[], Json]
) -> int:
    """Publish a change and return the exit code.

    Args:
        client: The control plane.
        manner: Where to, whether to wait, how to print.
        preview: Says what the change would do, without doing it.
        send: Makes the new version.
    """
    try:
        if not manner.yes:
            _ask(preview())
        answer = send()
    except SettingsError as error:
        return _refused(error, manner.form)
    if manner.form is Format.TABLE:
        show_version(answer)
    if not manner.wait or answer["version"] is None:
        return _sent(answer, manner.form)
    return _awaited(client, answer, manner)


def _ask(preview: Json) -> None:
    """Ask before more is recorded. Without a terminal nobody can be asked: it is only said."""
    if not preview.get("loosens_capture"):
        return
    agents = len(preview.get("agents") or [])
    note(f"This records more than before{f', by {counted(agents)}' if agents else ''}:")
    for change in preview.get("changes") or []:
        note(f"  {change['path']}: {shown(change['before'])} → {shown(change['after'])}")
    if at_a_terminal():
        typer.confirm("Go on?", abort=True, err=True)


def at_a_terminal() -> bool:
    """Whether somebody is there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _refused(error: SettingsError, form: Format) -> int:
    if form is not Format.TABLE:
        problems = [
            {"path": p.path, "found": p.found, "expected": p.expected} for p in error.problems
        ]
        dump({"state": "refused", "problems": problems}, form)
    else:
        note("llm-observe: refused, and nothing was changed:")
        for problem in error.problems:
            note(f"  {problem}")
    return int(ExitCode.FAILED)


def show_version(answer: Json) -> None:
    """What a new version changes, and for whom."""
    scope = answer.get("service") or "all services"
    if not answer.get("changes"):
        say(f"Nothing differs from what is wanted of {scope} already.")
        return
    say(f"Version {answer['version']} for {scope}:")
    for change in answer.get("changes") or []:
        say(f"  {change['path']}: {shown(change['before'])} → {shown(change['after'])}")
    for skipped in answer.get("skipped") or []:
        say(f"  not sent to {skipped['uid']}: {skipped['reason']}")
    for agent in answer.get("refusing") or []:
        say(f"  {agent['uid']} will refuse it: {agent['reason']}")


def shown(value: Any) -> str:
    """A setting's value in a sentence; absent is said so."""
    if value is None:
        return "(not set)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sent(answer: Json, form: Format) -> int:
    if form is not Format.TABLE:
        dump(answer, form)
    elif not answer.get("changes"):
        pass
    elif answer.get("agents"):
        say(f"Sent to {counted(len(answer['agents']))}. Follow with: llm-observe agents")
    else:
        say("No agent matches now; one that connects later will get it.")
    return int(ExitCode.OK)


def counted(number: int) -> str:
    """``1 agent``, ``2 agents``."""
    return f"{number} agent{'' if number == 1 else 's'}"


def _awaited(client: ControlClient, answer: Json, manner: Manner) -> int:
    progress = _watched(client, answer["version"], manner)
    if manner.form is not Format.TABLE:
        dump({**answer, "progress": progress}, manner.form)
    else:
        _verdict(progress, manner.timeout_s)
    return int(_code(progress))


def _watched(client: ControlClient, version: int, manner: Manner) -> Json:
    progress: Json = {"state": "pending", "agents": []}
    with Live(console=console(to_stderr=True), transient=True, auto_refresh=False) as live:
        for progress in client.wait(version, manner.timeout_s):
            if sys.stderr.isatty():
                live.update(_line(progress), refresh=True)
    return progress


def _line(progress: Json) -> Text:
    agents = progress["agents"]
    done = sum(agent["state"] == "acknowledged" for agent in agents)
    waiting = [clean(a.get("service") or a["uid"]) for a in agents if a["state"] == "pending"]
    text = f"acknowledged by {done} of {counted(len(agents))}"
    return Text(f"{text}; waiting for {', '.join(waiting[:5])}" if waiting else text)


def _code(progress: Json) -> ExitCode:
    if progress["state"] in {"acknowledged", "no agents"}:
        return ExitCode.OK
    if any(agent["state"] == "refused" for agent in progress["agents"]):
        return ExitCode.FAILED
    return ExitCode.FAILED if progress["state"] in FINAL_STATES else ExitCode.TIMED_OUT


def _verdict(progress: Json, timeout_s: float) -> None:
    agents = progress["agents"]
    if agents:
        rows = [(a["uid"], a.get("service"), a["state"], _reason(a)) for a in agents]
        table(("agent", "service", "state", "reason"), rows)
    sentences = {
        "acknowledged": f"Acknowledged by {counted(len(agents))}.",
        "no agents": "No agent matches, so there is nobody to wait for; one that connects later will get it.",
        "superseded": "A newer version took the place of this one before it was acknowledged.",
        "refused": "Refused; what held before holds on.",
    }
    silent = [clean(a["uid"]) for a in agents if a["state"] in {"pending", "offline"}]
    say(
        sentences.get(progress["state"])
        or f"No answer within {timeout_s:g} s from: {', '.join(silent)}"
    )


def _reason(agent: Json) -> str:
    problems = agent.get("problems") or []
    lines = [f"{p['path']}: found {p['found']}, expected {p['expected']}" for p in problems]
    return "; ".join(lines) or agent.get("error") or ""
