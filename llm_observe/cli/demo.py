"""``llm-observe demo``: control plane, chatbot and a local Llama, started and stopped together."""

from __future__ import annotations

import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from llm_observe.cli import options
from llm_observe.cli.demo_plan import Plan, command_line, needed_packages, programs, what_to_try
from llm_observe.cli.output import ExitCode, complain, console, note, say
from llm_observe.cli.processes import Child, port_taken, report
from llm_observe.errors import LLMObserveError, StateError
from llm_observe.statedir import default_root

app = typer.Typer()

PATIENCE_S = 10.0
"""Seconds that a child has to end by itself."""


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the control plane.")] = 4320,
    otlp_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Second port for OTLP/HTTP; 0 for none.")
    ] = 4318,
    chatbot_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the chatbot.")
    ] = 8501,
    llama_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the local Llama.")
    ] = 5320,
    chatbot: Annotated[bool, typer.Option("--chatbot/--no-chatbot", help="With chatbot.")] = True,
    scripted: Annotated[
        bool, typer.Option("--scripted", help="Scripted answers instead of the real model.")
    ] = False,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open both pages in the browser.")
    ] = False,
    data_dir: options.DataDir = None,
) -> int:
    """Start everything on this machine, to try it. Ctrl-C stops all of it.

    The chatbot talks to Replicate if REPLICATE_API_TOKEN is set, else to a small Llama that
    runs here. All listens on 127.0.0.1 only. Data is kept for the next start.
    """
    plan = Plan(
        port, otlp_port, chatbot_port, llama_port, chatbot, scripted,
        data_dir or default_data_dir(), replicate=bool(os.environ.get("REPLICATE_API_TOKEN")),
    )  # fmt: skip
    missing = [name for name in needed_packages(plan) if find_spec(name) is None]
    if missing:
        return complain(
            f"the demo needs {', '.join(missing)}: pip install 'llm-observe[chatbot,server,cli]'",
            ExitCode.FAILED,
        )
    for number, name, option in plan.ports():
        if port_taken(number):
            return complain(
                f"port {number} for the {name} is taken by another program; "
                f"choose another with {option}",
                ExitCode.FAILED,
            )
    return run(plan, open_browser)


def default_data_dir() -> Path:
    """``$XDG_STATE_HOME/llm-observe/demo``."""
    return default_root() / "demo"


def run(plan: Plan, open_browser: bool = False) -> int:
    """Start the plan's programs, wait for the end, stop them; returns the exit code."""
    children: list[Child] = []
    with _ends() as ending:
        try:
            _start(plan, children)
            if _until_ready(children, ending):
                _welcome(plan, open_browser)
                _watch(children, ending)
            return int(ExitCode.OK)
        except LLMObserveError as error:
            return complain(str(error), ExitCode.FAILED)
        finally:
            _stop(children, ending)


def _start(plan: Plan, children: list[Child]) -> None:
    logs = plan.data_dir / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        for program in programs(plan, os.environ):
            log = logs / f"{program.name.replace(' ', '-')}.log"
            children.append(Child.start(program, log))
    except OSError as error:
        raise StateError(f"cannot use {plan.data_dir}: {error.strerror}; see --data-dir") from error


def _until_ready(children: list[Child], ending: threading.Event) -> bool:
    """Wait until each child answers; False if the end was asked for before."""
    waiting = list(children)
    with console(to_stderr=True).status("starting …") as status:
        while waiting and not ending.is_set():
            for child in [child for child in waiting if child.ready()]:
                waiting.remove(child)
                say(f"  ✓ {child.program.name}")
            for child in children:
                child.check()
            status.update(_line(waiting))
            ending.wait(0.2)
    return not ending.is_set()


def _line(waiting: list[Child]) -> str:
    names = ", ".join(child.program.name for child in waiting)
    last = waiting[0].tail(1)[:100].replace("[", "\\[") if waiting else ""
    return f"waiting for {names} … [dim]{last}[/dim]"


def _welcome(plan: Plan, open_browser: bool) -> None:
    engine = report(f"{plan.llama_url}/healthz") if plan.llama else {}
    for line in what_to_try(plan, engine, command_line()):
        say(line)
    sys.stdout.flush()
    for url in (plan.control_url, *((plan.chatbot_url,) if plan.chatbot else ())):
        if open_browser:
            webbrowser.open(url)


def _watch(children: list[Child], ending: threading.Event) -> None:
    while not ending.wait(0.5):
        for child in children:
            child.check()


def _stop(children: list[Child], ending: threading.Event) -> None:
    """Stop in reverse order, so that the chatbot's last spans still find the control plane.

    Asked a second time, it no longer waits.
    """
    note("stopping …")
    ending.clear()
    for child in reversed(children):
        child.stop(PATIENCE_S, hurry=ending.is_set)


@contextmanager
def _ends() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set."""
    ending = threading.Event()

    def end(number: int, frame: Any) -> None:
        ending.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
