"""Options that several commands share, and the client they lead to."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from llm_observe.cli.output import Format
from llm_observe.control.client import DEFAULT_SERVER, ControlClient

Server = Annotated[
    str | None,
    typer.Option(
        "--server", envvar="LLM_OBSERVE_SERVER", metavar="URL",
        help=f"Address of the control plane. Default: {DEFAULT_SERVER}",
    ),
]  # fmt: skip
Token = Annotated[
    str | None,
    typer.Option(
        "--token", envvar="LLM_OBSERVE_ADMIN_TOKEN", metavar="TOKEN", show_envvar=True,
        help="Admin token. Better given by the environment: others can see a command line.",
    ),
]  # fmt: skip
Output = Annotated[
    Format, typer.Option("--output", "-o", help="How to print the result.", case_sensitive=False)
]
Service = Annotated[
    str | None,
    typer.Option("--service", "-s", metavar="NAME", help="Only this service; else all of them."),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")]
Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait until every matched agent has acknowledged.")
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="How long to wait: 30s, 2m, 500ms.")
]
Comment = Annotated[
    str, typer.Option("--comment", "-m", metavar="TEXT", help="Why; shown in the history.")
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask before more is recorded than now.")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Where all data is kept.")
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def connect(server: str | None, token: str | None, *, timeout_s: float = 10.0) -> ControlClient:
    """A client for the server that the options name."""
    return ControlClient(server, token, timeout_s=timeout_s)


def seconds(text: str, most: float = 86_400) -> float:
    """``30s``, ``2m``, ``500ms``, ``1h`` or a plain number, as seconds; at most ``most``.

    Raises:
        typer.BadParameter: Anything else, or nothing above zero.
    """
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text.strip()[len(number) :]
    try:
        value = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        value = 0.0
    if not 0 < value <= most:
        raise typer.BadParameter(f"{text!r} is no time; write 30s, 2m or 500ms.")
    return value


def author() -> str:
    """Who is at the keyboard, for the history."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
