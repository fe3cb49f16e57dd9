"""One seeded file for all tests of this folder, as lines and as a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_observe.explore import Traces, open
from llm_observe.spanstore.otlp import decode_traces
from llm_observe.spanstore.sqlite import SpanStore
from tests.explore.seed import write_lines


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lines(tmp_path_factory.mktemp("seed") / "traces.jsonl")


@pytest.fixture(scope="session")
def stored(lines: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "spans.db"
    store = SpanStore(path)
    for line in lines.read_bytes().splitlines():
        store.append(decode_traces(line, "application/json"), ()).result()
    store.close()
    return path


@pytest.fixture
def traces(stored: Path) -> Iterator[Traces]:
    with open(stored) as found:
        yield found
