"""A file that a program wrote, read with the Collector's own decoders."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_observe import explore
from tests.e2e.harness import App
from tests.interop.backends import needs_peers, peer

pytestmark = [pytest.mark.interop, needs_peers]
_RECIPE = tuple(f"otlp-json/{name}" for name in ("go.mod", "go.sum", "main.go"))


def test_a_collector_decodes_every_line_of_a_file(
    tmp_path: Path, start_app: Callable[..., App]
) -> None:
    file = tmp_path / "spans.jsonl"
    app = start_app(
        service_name="writes-a-file",
        settings={
            "capture": {"level": "full"},
            "destinations": {"disk": {"protocol": "file", "path": str(file)}},
        },
        limits={"local_sinks": ["file"], "file_folders": [str(tmp_path)]},
    )
    answer = app.ask("turn", "s-1", "Wie geht es dir? 你好")
    app.ask("burst", 20, "again")
    assert app.ask("flush") is True
    command = [peer("otlp-json", "otlp-json", *_RECIPE), str(file)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert {span["service"] for span in found["spans"]} == {"writes-a-file"}
    assert "gen_ai.client.operation.duration" in found["metrics"]
    (turn,) = [span for span in found["spans"] if span["name"] == "turn"]
    assert turn["attributes"]["input.value"] == "Wie geht es dir? 你好"
    assert turn["attributes"]["output.value"] == answer
    with explore.open(file) as traces:
        ours = traces.spans()
    assert len(found["spans"]) == len(ours) == 22
    assert {span["span"] for span in found["spans"]} == set(ours["span_id"])
