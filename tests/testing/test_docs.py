"""The programs of docs/testing.md run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llm_observe import testing
from llm_observe.testing import Answer, Fault

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
PROGRAMS: list[str] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 5


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_of_the_page_runs(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_every_fault_and_answer_is_on_the_page() -> None:
    page = PAGE.read_text()
    assert all(f"`{name}`" in page for name in Fault.__dataclass_fields__)
    assert all(re.search(rf"\b{name}=?", page) for name in Answer.__dataclass_fields__)


def test_every_public_double_is_on_the_page() -> None:
    page = PAGE.read_text()
    doubles = ("FakeReplicate", "ScriptedEngine", "OpenAIEngine", "Fault", "ServerLimits")
    others = ("OTLPSink", "Answer", "capture_spans", "serve_in_thread", "GenerationRequest")
    assert all(name in page and name in testing.__all__ for name in (*doubles, *others))
