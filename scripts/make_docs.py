"""Writes the pages of docs/ that are made from the code: ``python scripts/make_docs.py``.

A test checks that what is committed is what this would write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from llm_observe.cli.checks_here import OWN_VARIABLES
from llm_observe.cli.keys import key_rows
from llm_observe.control.api.app import rest
from llm_observe.settings.environment import ROWS
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

Order of the layers, from weakest to strongest: default, environment, code, control plane. Limits
(environment or code) cap all of them.

In the page, in files for `llm-observe apply`, and in `llm-observe set PATH=VALUE` the names are the
same. `<name>` stands for a name of your choice. A dot inside a name is written `\\.`.

"""


def escaped(cell: str) -> str:
    """A cell's text; a bar in it does not end the cell."""
    return cell.replace("|", "\\|")


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
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
    rows = (
        (f"`{key.path}`", key.allowed, f"`{key.default}`" if key.default else "–", key.sentence)
        for key in key_rows(json_schema())
    )
    return _NOTE + _SETTINGS + table(("key", "value", "default", "what it does"), rows)


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
