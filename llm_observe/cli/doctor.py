"""``llm-observe doctor``: what is connected, what is not, and why."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import typer

from llm_observe.agent.options import Options, read_options
from llm_observe.cli import checks_doors, checks_here, checks_there, options
from llm_observe.cli.finding import Finding, State
from llm_observe.cli.output import ExitCode, Format, dump, say
from llm_observe.control.client import ControlClient

app = typer.Typer()

MARKS = {State.OK: "✓", State.NOTE: "·", State.WARNING: "!", State.BROKEN: "✗"}


@app.command()
def doctor(
    service: options.Service = None,
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> int:
    """Check this machine, the control plane and the destinations, and say in sentences what is wrong.

    Exit code: 0 nothing is broken, 1 something is.
    """
    with options.connect(server, token, timeout_s=checks_there.TIMEOUT_S) as client:
        here = read_options(os.environ, time.time(), server=server)
        findings = list(examine(here, client, service, configured=bool(server)))
    if output is not Format.TABLE:
        dump(
            [{"area": f.area, "state": str(f.state), "sentence": f.sentence} for f in findings],
            output,
        )
    else:
        _print(findings)
    broken = any(finding.state is State.BROKEN for finding in findings)
    return int(ExitCode.FAILED if broken else ExitCode.OK)


def examine(
    here: Options, client: ControlClient, service: str | None, *, configured: bool
) -> Iterator[Finding]:
    """All checks in order, from near to far."""
    yield from checks_here.python()
    yield from checks_here.packages()
    yield from checks_here.libraries(checks_here.instrumentors())
    yield from checks_doors.here(checks_doors.points(), os.environ)
    yield from checks_here.variables(here, os.environ)
    yield from checks_here.state_folder(here.state_root)
    yield from checks_there.control_plane(client, configured)
    yield from checks_there.ingest(here, os.environ)
    yield from checks_there.destinations(here, os.environ)
    yield from checks_there.agents(client, service or here.service_name)


def _print(findings: list[Finding]) -> None:
    area = ""
    for finding in findings:
        heading = finding.area if finding.area != area else ""
        area = finding.area
        say(f"{MARKS[finding.state]} {heading:<14}{finding.sentence}")
    broken = sum(finding.state is State.BROKEN for finding in findings)
    say(f"\n{broken} broken." if broken else "\nNothing is broken.")
