"""The notebook runs from its first cell to its last."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "explore_traces.ipynb"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]  # it has no types


def executed(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LLM_OBSERVE_TRACES", str(place))
    book = read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kernel's own start-up, not of the notebook
        NotebookClient(book, timeout=300, kernel_name="python3").execute()
    return book


def output_of(book: Any, beginning: str) -> str:
    cell = next(c for c in book.cells if c.source.startswith(beginning))
    return str(cell.outputs)


def test_every_cell_runs_on_a_seeded_file(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = executed(stored, monkeypatch)
    assert "<svg" in output_of(book, "slowest")
    assert "queue and cold start" in output_of(book, "slowest")
    assert "did you mean" in output_of(book, "try:")
    assert "aaaaaaaaaaaaaaaa" in output_of(book, "traces.compare")
    assert "application/vnd.plotly" in output_of(book, "traces.plot_ttft")
    assert "question" in output_of(book, "sessions")
    assert "nothing was scored yet" in output_of(book, "scores = ")


def test_it_is_kept_without_outputs() -> None:
    book = read()
    assert all(not cell.get("outputs") for cell in book.cells)
