"""The program ``llm-observe``: which way in.

``run`` puts another program in the place of this one, and loads neither typer nor rich for it.
"""

from __future__ import annotations

import importlib
import sys

from llm_observe.cli import run


def main(args: list[str] | None = None) -> None:
    """Run the program and exit with its code."""
    given = sys.argv[1:] if args is None else args
    if given[:1] == ["run"]:
        sys.exit(run.main(given[1:]))
    try:
        program = importlib.import_module("llm_observe.cli.main")
    except ModuleNotFoundError as error:
        if (error.name or "llm_observe").startswith("llm_observe"):
            raise
        sys.exit(f"llm-observe: this needs {error.name}: pip install 'llm-observe[cli]'")
    program.main(given)
