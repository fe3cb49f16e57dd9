"""The program ``llm-observe``: which commands there are, and how every one of them ends.

A command's module is loaded when the command is run, so that ``--help`` and completion cost
little. Exit codes are the same everywhere; see `ExitCode`.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from llm_observe.cli import run as run_program
from llm_observe.cli.output import ExitCode, complain
from llm_observe.errors import Forbidden, LLMObserveError, Unreachable
from llm_observe.version import __version__

UsageError: type[Any] = typer.BadParameter.__bases__[0]  # typer names no public base for these


@dataclass(frozen=True, slots=True)
class Noun:
    """One command: its module, the help panel it stands in, and its sentence."""

    module: str
    panel: str
    sentence: str


_RUN, _SEE, _CHANGE = "Run", "See", "Change"

NOUNS: dict[str, Noun] = {
    "demo": Noun("demo", _RUN, "Start control plane, chatbot and a local Llama, to try all of it."),
    "serve": Noun("serve", _RUN, "Start the control plane."),
    "run": Noun(
        "run_listed", _RUN, "Run a program and observe it, without editing it: run python app.py."
    ),
    "doctor": Noun("doctor", _RUN, "Check this machine and say in sentences what is wrong."),
    "agents": Noun("agents", _SEE, "List the agents: who is connected, and what they follow."),
    "agent": Noun("agent", _SEE, "Show one agent: settings desired, acknowledged and in force."),
    "traces": Noun("traces", _SEE, "List traces, newest first; --follow waits for new ones."),
    "trace": Noun("trace", _SEE, "Show one trace as a tree."),
    "settings": Noun("settings", _SEE, "Show the desired settings, or which keys there are."),
    "history": Noun("history", _SEE, "List the versions of the settings: who, when, what."),
    "set": Noun("set", _CHANGE, "Change single settings: set sampling.ratio=0.5 --wait."),
    "apply": Noun("apply", _CHANGE, "Replace the settings by a file's."),
    "capture": Noun(
        "capture", _CHANGE, "Record more for some time: capture grant --for 15m --user ann."
    ),
    "undo": Noun("undo", _CHANGE, "Restore the settings from before a version."),
    "redaction": Noun(
        "redaction", _CHANGE, "Try redaction rules on samples; list the detectors of this machine."
    ),
    "token": Noun("token", _CHANGE, "Create, list and withdraw access tokens."),
}


class LazyGroup(TyperGroup):
    """Lists commands from `NOUNS`; loads a module only for the command that is run."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the table."""
        return list(NOUNS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        """A stand-in that carries name and sentence."""
        noun = NOUNS.get(cmd_name)
        if noun is None:
            return None
        return TyperCommand(
            cmd_name, help=noun.sentence, short_help=noun.sentence, rich_help_panel=noun.panel
        )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command, for running it or completing its arguments."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(str(name)), rest


def load(name: str) -> Any:
    """The real command behind a name of `NOUNS`."""
    module = importlib.import_module(f"llm_observe.cli.{NOUNS[name].module}")
    command = get_command(module.app)
    command.name = name
    return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Remote control for LLM tracing.",
    epilog="Exit codes: 0 done · 1 refused or broken · 2 --wait ran out of time · "
    "3 no control plane, or no access · 64 wrong usage · 130 interrupted.",
)


def _show_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    pass


def main(args: list[str] | None = None) -> None:
    """Run the program and exit with its code; never shows a traceback for a foreseen error."""
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    given = sys.argv[1:] if args is None else args
    if given[:1] == ["run"]:  # whose words are another program's
        return run_program.main(given[1:])
    try:
        return int(app(args, prog_name="llm-observe", standalone_mode=False) or 0)
    except UsageError as error:
        return _usage(error)
    except (Unreachable, Forbidden) as error:
        return complain(str(error), ExitCode.NO_ACCESS)
    except LLMObserveError as error:
        return complain(str(error), ExitCode.FAILED)
    except typer.Abort:
        return complain("nothing was changed", ExitCode.FAILED)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        return _reader_left()
    except ModuleNotFoundError as error:
        return _missing(error)


def _usage(error: Any) -> int:
    if not error.format_message():  # `llm-observe` alone: the help was shown
        return int(ExitCode.USAGE)
    command = error.ctx.command_path if error.ctx else "llm-observe"
    return complain(f"{error.format_message()} See {command} --help.", ExitCode.USAGE)


def _missing(error: ModuleNotFoundError) -> int:
    if (error.name or "").startswith("llm_observe"):
        raise error
    return complain(
        f"this command needs the package {error.name}, which is not installed: "
        "pip install 'llm-observe[all]'",
        ExitCode.FAILED,
    )


def _reader_left() -> int:
    sys.stderr.close()  # else the interpreter complains once more while it ends
    return int(ExitCode.OK)
