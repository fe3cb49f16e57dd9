"""Writes docs/opamp-conformance.md: ``python -m tests.opamp.conformance``.

Rows come from ``conformance.toml``, tests from the marks ``@pytest.mark.opamp("C-04")``, faults from
`tests.opamp.faults`. A test checks that the page is current and that no row is without an answer.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.opamp.faults import FAULTS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "opamp-conformance.md"

CHAPTERS = {
    "T": "Transport",
    "W": "WebSocket",
    "L": "Limits of size",
    "H": "Plain HTTP",
    "C": "Connections",
    "A": "Authentication",
    "U": "Instance uid",
    "Q": "Status reports",
    "P": "Capabilities",
    "D": "Description",
    "E": "Effective configuration",
    "M": "Maps of configurations",
    "R": "Remote configuration",
    "N": "Health",
    "O": "Own telemetry",
    "K": "Offers of OpAMP connections",
    "X": "Other connections",
    "S": "TLS, proxies, headers",
    "Z": "Trust on first use, certificate requests, revocation",
    "G": "Packages",
    "J": "Custom messages",
    "B": "Available components",
    "V": "Commands",
    "I": "Heartbeats",
    "Y": "Throttling",
    "F": "Errors",
    "SEC": "Security",
}

DECISIONS = (
    ("What a poll carries", "uid, number and capabilities, not the uid alone"),
    (
        "An interval of heartbeats of 0, or none",
        "no `opamp` block: as before. A block with 0: none over WebSocket; over HTTP polling goes on",
    ),
    (
        "What an offered connection leaves out",
        "TLS and proxy are kept; headers only for the same scheme, host and port; a certificate is not",
    ),
    ("A configuration that failed", "the hash stays that of the last one *received*, with FAILED"),
    (
        "What ReportFullState asks for",
        "every part there is; of the components only the hash, for their list has a flag of its own",
    ),
    (
        "Where numbers begin",
        "at 0 with the process. An agent that begins anew under its uid is a gap, and is asked for all",
    ),
    (
        "A number on a retry over HTTP",
        "no answer: the very same message again. Certainly not processed: composed anew, same number",
    ),
    ("Capabilities of the server", "in every reply; 0 from a peer means: not said, or as before"),
    ("A command that the agent does not accept", "is passed over, and the rest is processed"),
    ("Names that differ in text and proto", "the proto's"),
    (
        "The header of WebSocket messages",
        "anything but 0 is malformed; senders without one are refused",
    ),
    ("AgentDisconnect on a shared line", "ends that agent's part, not the line"),
    ("An empty map of configurations", "is an offer of nothing, handed on as such"),
    (
        "How long to wait for an answer",
        "30 s over HTTP; over WebSocket a ping after 20 s must be answered within 20 s",
    ),
    ("TLS settings without authorities", "the platform's count; never none, never any"),
    (
        "The interval inside an offer that is refused",
        "is taken; a server tells it alone only to agents that take no OpAMP connections",
    ),
    (
        "Two agents with one uid over HTTP",
        "are told apart by their numbers taking turns over different connections",
    ),
    (
        "What acknowledges a message",
        "any proper message from the server: answers carry no number. What a push acknowledges too "
        "early is healed by the numbers; a custom message on a line that breaks may be lost",
    ),
)

_MARK = "pytest.mark.opamp"

_INTRO = """\
<!-- Made by tests/opamp/conformance.py; do not edit. -->
# OpAMP conformance

What [`llm_observe.opamp`](opamp.md) does of the OpAMP specification, row by row, in our own words.
C is the client, S the server, B both; levels as the specification writes them, *deriv* for what follows
from other rows, *rec* for a recommendation. Tests are files of `tests/opamp`, or of `tests` where they
do not begin with `io/` or `test_`; those of `interop/` talk to OpenTelemetry's own libraries, those of
`agent/` and `processes/` show what is the business of the LLM agent and not of the library.

A ✓ under *fault* says that a fault was planted in the code and the test named there failed:
`python -m tests.opamp.planting` does so for every row that is a MUST. Hostile bytes for every decoder:
`python -m tests.opamp.fuzz --inputs 10000000 --jobs 2`. The core's tests alone, which touch no socket,
thread, process or clock: `pytest tests/opamp/test_*.py -m opamp_core`.

"""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the specification."""

    id: str
    role: str
    level: str
    text: str
    section: str
    why: str = ""

    @property
    def is_must(self) -> bool:
        """Whether the specification commands it."""
        return re.search(r"\bMUST\b", self.level) is not None

    @property
    def chapter(self) -> str:
        """The letters of its id."""
        return self.id.partition("-")[0]


def rows() -> dict[str, Row]:
    """Every row, in the order of the specification."""
    content = tomllib.loads((HERE / "conformance.toml").read_text())
    return {name: Row(name, **fields) for name, fields in content.items()}


def marks() -> Mapping[str, list[tuple[str, str]]]:
    """The tests of each row: file below tests/opamp, or below tests, and name."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(HERE.parent.rglob("test_*.py")):
        text = path.read_text()
        if _MARK not in text:
            continue
        file = path.relative_to(HERE if HERE in path.parents else HERE.parent).as_posix()
        for test, row in _marked(ast.parse(text)):
            found[row].append((file, test))
    return found


def file_of(name: str) -> Path:
    """The inverse of what `marks` calls a file."""
    return next(path for path in (HERE / name, HERE.parent / name) if path.exists())


def _marked(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                for row in _rows_of(decorator):
                    yield node.name, row


def _rows_of(decorator: ast.expr) -> Iterator[str]:
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == _MARK:
        for argument in decorator.args:
            yield str(ast.literal_eval(argument))


def page() -> str:
    """The page as it should be."""
    shown, lines = marks(), [_INTRO]
    lines.append(_summary(rows(), shown))
    for letters, title in CHAPTERS.items():
        lines.append(
            f"## {title}\n\n| id | | level | row | shown by | fault |\n|---|---|---|---|---|---|\n"
        )
        lines += [_line(row, shown) for row in rows().values() if row.chapter == letters]
        lines.append("\n")
    lines.append("## Where the specification is silent or contradicts itself\n\n")
    lines.append("| question | here |\n|---|---|\n")
    lines += [f"| {question} | {decision} |\n" for question, decision in DECISIONS]
    return "".join(lines)


def _summary(all_rows: Mapping[str, Row], shown: Mapping[str, object]) -> str:
    must = [row for row in all_rows.values() if row.is_must]
    return (
        f"{len(all_rows)} rows, {sum(name in shown for name in all_rows)} shown by tests; "
        f"{len(must)} are a MUST, {sum(row.id in shown for row in must)} of them shown, "
        f"{len(FAULTS)} with a planted fault. The others say why not.\n\n"
    )


def _line(row: Row, shown: Mapping[str, list[tuple[str, str]]]) -> str:
    tests = "<br>".join(f"`{file}` {_words(name)}" for file, name in shown.get(row.id, ()))
    fault = "✓" if row.id in FAULTS else ""
    text = row.text.replace("|", "\\|")
    return (
        f"| {row.id} | {row.role} | {row.level} | {text} | {tests or f'*{row.why}*'} | {fault} |\n"
    )


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.exit(0)
