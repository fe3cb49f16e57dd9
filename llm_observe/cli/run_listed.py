"""``run`` among the other commands: for the list of commands, completion and the docs.

It is never called: what runs is `llm_observe.cli.run`, which loads none of this. Names and
sentences of the options are those of its table.
"""

from __future__ import annotations

from typing import Annotated

import typer

from llm_observe.cli.run_options import DESCRIPTION, OPTIONS

app = typer.Typer(add_completion=False)

_HELP = {option.name: option.sentence for option in OPTIONS}


@app.command(help=DESCRIPTION, context_settings={"allow_interspersed_args": False})
def _run(
    program: Annotated[list[str] | None, typer.Argument(help="The program, its arguments.")] = None,
    service_name: Annotated[
        str | None, typer.Option(metavar="NAME", help=_HELP["service_name"])
    ] = None,
    server: Annotated[str | None, typer.Option(metavar="URL", help=_HELP["server"])] = None,
    settings: Annotated[str | None, typer.Option(metavar="FILE", help=_HELP["settings"])] = None,
    follow: Annotated[bool, typer.Option("--follow-children", help=_HELP["follow"])] = False,
    module: Annotated[
        str | None, typer.Option("-m", metavar="MODULE", help=_HELP["module"])
    ] = None,
) -> None: ...
