"""The way into the program, also where only the core is installed."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
class No:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"typer", "rich"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, No())
from llm_observe.cli.start import main
main(sys.argv[1:])
"""


def start(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *args], capture_output=True, text=True, check=False
    )


def test_run_needs_no_extra() -> None:
    done = start("run", sys.executable, "-c", "print(42)")
    assert (done.returncode, done.stdout) == (0, "42\n")


def test_other_commands_say_which_extra_they_need() -> None:
    done = start("agents")
    assert done.returncode == 1
    assert done.stderr == "llm-observe: this needs typer: pip install 'llm-observe[cli]'\n"
