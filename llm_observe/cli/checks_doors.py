"""Checks of the ways in which observation comes into a program: which are open here, which was taken."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llm_observe.cli.finding import Finding, ok, remark, warning
from llm_observe.cli.run_plan import FOLDER

OTEL, OPENINFERENCE = "opentelemetry_instrumentor", "openinference_instrumentor"
_OURS = "llm_observe."
_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


class Point(NamedTuple):
    """One entry point of an instrumentor."""

    group: str
    name: str
    module: str
    distribution: str


def points() -> tuple[Point, ...]:
    """All instrumentors that are installed here; nothing of them is loaded."""
    return tuple(
        Point(group, point.name, point.module, point.dist.name if point.dist else "")
        for group in (OTEL, OPENINFERENCE)
        for point in importlib.metadata.entry_points(group=group)
    )


def here(
    found: Iterable[Point], environ: Mapping[str, str], has: Mapping[str, bool] | None = None
) -> Iterator[Finding]:
    """Which doors are open to which library, and who else instruments what."""
    known = tuple(found)
    there = installed() if has is None else has
    yield ok("doors", "observe() in the program instruments every library named above.")
    if Path(FOLDER, "sitecustomize.py").is_file():
        yield ok(
            "doors", "So does llm-observe run, without editing: llm-observe run python app.py."
        )
    yield from _door(known, OTEL, "opentelemetry-instrument", there[OTEL], environ)
    yield from _door(
        known, OPENINFERENCE, "Phoenix's register(auto_instrument=True)", there[OPENINFERENCE], {}
    )
    yield from _others(known)


def installed() -> dict[str, bool]:
    """Whether those who read the entry points are here."""
    phoenix = importlib.util.find_spec("phoenix") is not None
    return {OTEL: shutil.which("opentelemetry-instrument") is not None, OPENINFERENCE: phoenix}


def _door(
    known: tuple[Point, ...], group: str, who: str, there: bool, environ: Mapping[str, str]
) -> Iterator[Finding]:
    names = [item.name for item in known if item.group == group and item.module.startswith(_OURS)]
    off = {name.strip() for name in environ.get(_DISABLED, "").split(",")} & {*names, "*"}
    if not names:
        yield warning("doors", f"{who} does not find us: install llm-observe anew.")
    elif off:
        yield warning("doors", f"{who} leaves out {', '.join(sorted(off))}: {_DISABLED} says so.")
    elif there:
        yield ok("doors", f"{who} instruments {', '.join(names)}, on the provider that it sets up.")
    else:
        yield remark("doors", f"{who} would instrument {', '.join(names)}; it is not installed.")


def _others(known: tuple[Point, ...]) -> Iterator[Finding]:
    ours = {item.name for item in known if item.module.startswith(_OURS)}
    others = {(i.name, i.distribution) for i in known if not i.module.startswith(_OURS)}
    for name, distribution in sorted(others):
        if name in ours:
            yield warning(
                "doors",
                f"{distribution} instruments {name} too: where it is active first, ours stays off.",
            )
    rest = sorted({name for name, _ in others if name not in ours})
    if rest:
        yield remark(
            "doors",
            f"Others instrument {', '.join(rest)}; their spans are scrubbed on our provider.",
        )


def taken(agent: Mapping[str, Any]) -> str:
    """By which door an agent of ours came, and what it instruments; nothing for any other agent.

    ``agent`` is the control plane's answer about one agent.
    """
    about = (agent.get("description") or {}).get("non_identifying") or {}
    if "llm_observe.version" not in about:
        return ""
    door = "llm-observe run" if about.get("llm_observe.door") == "run" else "observe()"
    provider = about.get("llm_observe.tracer_provider")
    where = f" on the app's own {provider}" if provider else ""
    return f"observed by {door}{where}: {_instrumented(agent.get('instrumentors') or ())}"


def _instrumented(parts: Iterable[Mapping[str, Any]]) -> str:
    told = [
        f"{part.get('name')} {part.get('version') or ''}".rstrip() + f" {part.get('state')}"
        for part in parts
        if part.get("state") != "absent"
    ]
    return ", ".join(told) or "no client library is there"
