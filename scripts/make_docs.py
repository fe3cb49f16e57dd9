"""Writes the pages of docs/ that are made from the code: ``python scripts/make_docs.py``.

A test checks that what is committed is what this would write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from llm_observe.cli.checks_here import OWN_VARIABLES
from llm_observe.control.api.app import rest
from llm_observe.settings.environment import ROWS
from llm_observe.settings.keys import Key, key_rows
from llm_observe.settings.notes import Note, When, note_of
from llm_observe.settings.schema import json_schema

DOCS = Path(__file__).parents[1] / "docs"

_NOTE = "<!-- Made by scripts/make_docs.py; do not edit. -->\n"

_ENVIRONMENT = """\
# Environment variables

An app that calls `llm_observe.observe()` reads these when it starts. They form the *environment*
layer: weaker than what the code says, and than what the control plane says; stronger than the
defaults. A value that cannot be read is left out and reported in the log, by `llm-observe doctor`
and by `observe().status()`; it never stops the app.

## Variables that set a key of the settings

Of several variables that set one key the last one in this table wins; of those that hide content
the strictest counts, whatever their order.

"""

_OTHERS = """
## Other variables

Limits cap every layer, the control plane's too. Only the environment and the code can set them.

"""

_SETTINGS = """\
# Settings

Everything that can be changed while an app runs. A key that nobody sets keeps its default; who set
it last is shown per key on the agent's page and by `llm-observe agent UID`.

In the page, in files for `llm-observe apply`, and in `llm-observe set PATH=VALUE` the names are the
same. `<name>` stands for a name of your choice. A dot inside a name is written `\\.`.

## How to read the tables

**Layers**, from weakest to strongest: default, environment, code, OpAMP offer, control plane, timed
grant. Absent means no opinion, and the strongest layer that has one decides: *per key*, so that one
layer may set `capture.level` and another `capture.input`; *per name and key* where names are of your
choice, so that a layer may add one, or change a key of one that another layer added; a *list* is
replaced whole. Code sets a key by `observe(settings={…})`; the variable named sets it from the
environment.

**Limits** cap every layer, and only the environment and the code can set them. Where a key has one of
its own it is named; `LLM_OBSERVE_LIMIT_REMOTE_KEYS` says of all keys which the control plane may set.
Beyond a limit the control plane's change is refused; what the app itself asks for is lowered to it,
or left out.

**Takes effect** is counted from the moment that the app has the change, which the control plane sends
at once. The app acknowledges it when it is true.

| takes effect | what that means |
| --- | --- |
"""

_WHEN = {
    When.TRACE: "For traces that begin afterwards. One that has begun keeps its decision, so that none is torn.",
    When.CALL: "For calls that begin afterwards. Those under way go on to their end.",
    When.ENDED: "For every trace that is not decided on yet, held ones too. The first such rule holds those that begin afterwards.",
    When.LEAVING: "For every span that leaves afterwards: under way, ended or queued. A tightening is acknowledged when no request with older content is in flight.",
    When.PROBED: "An empty request is tried first; if it fails, the change is refused and what held before stays. What is queued goes where the change says. To remove a destination or a signal holds at once.",
    When.AT_ONCE: "When the app has it.",
}

_HIDE = "OPENINFERENCE_HIDE_"
_TESTS = "tests/e2e/test_settings_keys.py"
"""Where every key is set from a control plane, and its effect observed in a running program."""


def escaped(cell: str) -> str:
    """A cell's text; a bar in it does not end the cell."""
    return cell.replace("|", "\\|")


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(escaped(cell) for cell in line)} |\n" for line in lines)


def environment() -> str:
    """docs/environment.md."""
    keys = ((f"`{row.variable}`", f"`{row.path}`", row.sentence) for row in ROWS)
    others = ((f"`{name}`", sentence) for name, sentence in OWN_VARIABLES.items())
    return (
        _NOTE + _ENVIRONMENT + table(("variable", "sets", "what it does"), keys)
        + _OTHERS + table(("variable", "what it does"), others)
    )  # fmt: skip


def settings() -> str:
    """docs/settings.md."""
    head = (
        "key", "value", "default", "example", "what it does", "variable", "layers", "takes effect", "test",
    )  # fmt: skip
    parts = groupby(key_rows(json_schema()), lambda key: key.path.partition(".")[0])
    when = "".join(f"| {name} | {sentence} |\n" for name, sentence in _WHEN.items())
    tables = (f"\n## {name}\n\n{table(head, map(_setting, keys))}" for name, keys in parts)
    return _NOTE + _SETTINGS + when + "".join(tables)


def _setting(key: Key) -> tuple[str, ...]:
    note = note_of(key.path)
    return (
        f"`{key.path}`",
        key.allowed,
        f"`{key.default}`" if key.default else "–",
        f"`{note.example}`",
        key.sentence,
        ", ".join(f"`{name}`" for name in variables_of(key.path)) or "–",
        _layers(key, note),
        str(note.when),
        f"[{test_of(key.path)}](../{_TESTS})",
    )


def variables_of(path: str) -> list[str]:
    """The variables that set a key, or one of its name; the many that hide content as one."""
    found = (row.variable for row in ROWS if fits(path, row.path))
    return [*dict.fromkeys(_HIDE + "…" if name.startswith(_HIDE) else name for name in found)]


def fits(pattern: str, path: str) -> bool:
    """Whether a path is a key, or the whole of a mapping; ``<name>`` stands for any name."""
    ours, theirs = pattern.split("."), path.split(".")
    ours = ours[: len(theirs)] if ours[len(theirs) :] == ["<name>"] else ours
    return len(ours) == len(theirs) and all(
        a in ("<name>", b) for a, b in zip(ours, theirs, strict=True)
    )


def _layers(key: Key, note: Note) -> str:
    rule = "list" if key.allowed.startswith("a list") else "per key"
    rule = "per name and key" if "<name>" in key.path and rule == "per key" else rule
    return f"{rule}; limit `{note.limit}`" if note.limit else rule


def test_of(path: str) -> str:
    """The test that observes a key's effect; those of destinations are named by the key alone."""
    names = [name for name in path.split(".") if name != "<name>"]
    return "test_" + "_".join(names[1:] if names[0] == "destinations" else names)


def openapi() -> str:
    """docs/openapi.json."""
    document = rest(cast("Any", None)).openapi()  # the routes alone; no service is asked
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def schema() -> str:
    """docs/settings.schema.json, for editors."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "environment.md": environment,
    "settings.md": settings,
    "settings.schema.json": schema,
    "openapi.json": openapi,
}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
