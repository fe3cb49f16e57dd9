"""The README's blocks, as a stranger would run them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import App, ControlPlane, eventually

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    pattern = rf"^ *```{language}\n(.*?)^ *```$"
    found: list[str] = re.findall(pattern, (ROOT / "README.md").read_text(), re.M | re.S)
    assert found
    return found


def test_the_programs_of_the_readme_run(tmp_path: Path) -> None:
    for program in blocks("python"):
        answer = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "my-app observes" in answer.stdout


def test_the_commands_of_the_readme_work(
    plane: ControlPlane, start_app: Callable[..., App]
) -> None:
    app = start_app(service_name="chat", server=plane.url)
    plane.agent("chat")
    app.ask("call", "hello")
    eventually(lambda: plane.traces(service="chat"), "the trace arrives")
    for line in "".join(blocks("bash")).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "llm-observe"
        command = [sys.executable, "-m", "llm_observe.cli", *arguments]
        environ = {**os.environ, "LLM_OBSERVE_SERVER": plane.url}
        answer = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, (line, answer.stdout, answer.stderr)
    settings = app.status()["settings"]
    assert (settings["capture"]["level"], settings["sampling"]["ratio"]) == ("off", 1.0)


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text())
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
