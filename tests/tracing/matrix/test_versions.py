"""The matrix against other versions of the client: the oldest that works, and the next.

Each is installed once into a cached folder and imported from there by a child process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tracing.matrix.clients import INSTALLED, WANTED
from tests.tracing.matrix.versions import NEXT, OLDEST, environment

ROOT = Path(__file__).parents[3]
HERE = "tests/tracing/matrix"
DEADLINE_S = 1800


def test_the_client_that_is_tested_is_the_one_that_was_asked_for() -> None:
    assert WANTED in ("", INSTALLED)


def test_the_oldest_client_that_is_tested_is_the_one_that_the_docs_and_the_extra_name() -> None:
    assert f"replicate>={OLDEST},<2" in (ROOT / "pyproject.toml").read_text()
    page = (ROOT / "docs" / "instrumentation.md").read_text()
    assert OLDEST in page
    assert NEXT in page


@pytest.mark.skipif(
    not os.environ.get("LLM_OBSERVE_FULL") or bool(WANTED),
    reason="other versions of the client: scripts/test --full",
)
@pytest.mark.parametrize("version", [OLDEST, NEXT])
def test_the_matrix_holds_with_other_versions_of_the_client(version: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    child = subprocess.run(
        [*command, HERE],
        cwd=ROOT,
        env=environment(version),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert child.returncode == 0, child.stdout[-5000:] + child.stderr[-2000:]
    passed = re.search(r"(\d+) passed", child.stdout)
    assert passed is not None
    assert int(passed[1]) > 500
