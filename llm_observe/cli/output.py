"""How commands speak: tables for people, JSON and YAML for programs, one sentence for errors.

Everything that a control plane sends is outside text. What could steer a terminal (escape
sequences and other control characters) is made visible before it is printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

import yaml
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    """Something was refused, or is broken."""
    TIMED_OUT = 2
    """``--wait`` ran out of time; the silent agents are named."""
    NO_ACCESS = 3
    """No control plane answers, or it does not let us in."""
    USAGE = 64
    """The command was written wrongly."""
    INTERRUPTED = 130
    """Ctrl-C."""


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


STYLES = {
    "in sync": "green", "acknowledged": "green", "connected": "green", "ok": "green",
    "pending": "yellow", "offline": "yellow", "warning": "yellow", "superseded": "yellow",
    "refused": "bold red", "broken": "bold red", "error": "bold red", "failed": "bold red",
}  # fmt: skip


def console(*, to_stderr: bool = False) -> Console:
    """A console; where nobody looks at a terminal its lines are as long as they need be."""
    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else 10_000
    return Console(file=stream, width=width, highlight=False, soft_wrap=width is not None)


def complain(sentence: str, code: ExitCode) -> int:
    """One error on stderr; returns the exit code."""
    print(f"llm-observe: {clean(sentence)}", file=sys.stderr)
    return int(code)


def note(sentence: str) -> None:
    """A remark on stderr, where it does not spoil what a program reads from stdout."""
    print(clean(sentence), file=sys.stderr)


def say(sentence: str) -> None:
    """A line on stdout."""
    print(clean(sentence))


def clean(text: Any) -> str:
    """Text without control characters but line ends and tabs; others become ``\\x1b``."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in str(text))


def dump(data: Any, form: Format) -> None:
    """Data for programs, as JSON or YAML."""
    if form is Format.YAML:
        text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False, default_flow_style=False)
        print(text, end="")
    else:
        print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def cell(value: Any) -> Text:
    """One cell: cleaned, short, and coloured if it is a state."""
    text = "–" if value is None or value == "" else clean(value).replace("\n", " ⏎ ")
    return Text(text, style=STYLES.get(text, ""))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Iterable[str] = ()
) -> None:
    """A table without lines; the columns named in ``numbers`` stand to the right."""
    right = set(numbers)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(
            column, justify="right" if column in right else "left", no_wrap=column in right
        )
    for row in rows:
        grid.add_row(*map(cell, row))
    show(grid)


def show(thing: RenderableType) -> None:
    """Print something of rich's; into a pipe without colours and without trailing blanks."""
    target = console()
    with target.capture() as captured:
        target.print(thing)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def moment(seconds: Any) -> str:
    """A Unix time as local date and time; what is no number stays as it is."""
    if not isinstance(seconds, (int, float)):
        return str(seconds or "")
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(seconds: Any, now: float) -> str:
    """How long ago: ``3 s``, ``5 min``, ``2 h``, ``4 d``."""
    if not isinstance(seconds, (int, float)):
        return str(seconds or "")
    passed = max(0.0, now - seconds)
    for limit, size, unit in _UNITS:
        if passed < limit:
            return f"{passed / size:.0f} {unit}"
    return f"{passed / 86_400:.0f} d"


_UNITS = ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h"))


def duration(ms: Any) -> str:
    """Milliseconds for people: ``850 ms``, ``1.24 s``."""
    if not isinstance(ms, (int, float)):
        return ""
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"
