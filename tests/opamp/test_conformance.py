from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.opamp.conformance import CHAPTERS, PAGE, ROOT, marks, page, rows
from tests.opamp.faults import FAULTS
from tests.opamp.planting import changed


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.opamp.conformance"


def test_every_row_is_shown_by_a_test_or_says_why_not() -> None:
    shown = marks()
    assert [row.id for row in rows().values() if (row.id in shown) == bool(row.why)] == []


def test_marks_name_rows_that_there_are() -> None:
    assert set(marks()) <= set(rows())
    assert {row.chapter for row in rows().values()} == set(CHAPTERS)


def test_every_row_that_is_a_must_and_shown_has_a_planted_fault_in_one_of_its_tests() -> None:
    shown = marks()
    assert {row.id for row in rows().values() if row.is_must and row.id in shown} == set(FAULTS)
    for row, fault in FAULTS.items():
        assert (fault.file, fault.test) in shown[row], row


@pytest.mark.parametrize("row", FAULTS)
def test_a_planted_fault_still_fits_the_source(row: str) -> None:
    assert changed(FAULTS[row])


@pytest.mark.skipif(
    not os.environ.get("LLM_OBSERVE_FULL"), reason="takes minutes: scripts/test --full"
)
def test_every_planted_fault_is_noticed() -> None:
    command = [sys.executable, "-m", "tests.opamp.planting"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
