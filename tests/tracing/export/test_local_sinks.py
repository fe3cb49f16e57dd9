"""Destinations on the machine of the program, through the whole pipeline and by themselves."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from llm_observe import explore
from llm_observe.settings.model import Capture, CaptureLevel, Destination, Settings
from llm_observe.tracing.export import folders
from llm_observe.tracing.export.backend import Backend
from llm_observe.tracing.export.exchange import Exchange
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.local_sinks import Console, FileSink
from llm_observe.tracing.export.probe import probe_all
from llm_observe.tracing.export.verdict import Answer
from tests.tracing.export.drive import CANARY, PATIENCE_S, record, running_pipeline, settings
from tests.tracing.export.sink import Sink
from tests.tracing.export.test_jsonlines import request


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    inner = tmp_path / "permitted"
    inner.mkdir()
    folders.permit([str(inner)])
    yield inner
    folders.permit([])


def to_file(path: Path, level: CaptureLevel = CaptureLevel.FULL, **keys: Any) -> Settings:
    destination = Destination(protocol="file", path=str(path), **keys)
    return Settings(capture=Capture(level=level), destinations={"a": destination})


def test_what_was_recorded_is_read_back(folder: Path) -> None:
    file = folder / "spans.jsonl"
    with running_pipeline(to_file(file)) as pipeline:
        for _ in range(5):
            record(pipeline)
        assert pipeline.flush(PATIENCE_S)
        status = pipeline.status().destinations["a"]
        assert (status.endpoint, status.protocol, status.sent) == (str(file), "file", 5)
        assert status.metrics.sent == 1
    with explore.open(file) as traces:
        found = traces.spans()
        assert len(found) == 5
        assert set(found["model"]) == {"meta/llama-2-7b-chat"}
        assert traces.series("calls")["count"].sum() == 5
    assert CANARY.encode() in file.read_bytes()


def test_a_destination_may_become_a_file_and_keeps_its_queue(folder: Path, sink: Sink) -> None:
    with running_pipeline(settings(a="http://127.0.0.1:1")) as pipeline:
        for _ in range(5):
            record(pipeline)
        assert pipeline.apply(to_file(folder / "a.jsonl"), "hash-1").problems == ()
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.apply(settings(a=sink.url), "hash-2").problems == ()
        record(pipeline)
        assert pipeline.flush(PATIENCE_S)
    lines = (folder / "a.jsonl").read_text().splitlines()
    spans = [json.loads(line) for line in lines if "resourceSpans" in line]
    assert sum(len(s["resourceSpans"][0]["scopeSpans"][0]["spans"]) for s in spans) == 5
    assert len(sink.spans) == 1


def test_after_a_tightening_nothing_forbidden_is_written(folder: Path) -> None:
    file = folder / "a.jsonl"
    with running_pipeline(to_file(file), delay_s=3600.0) as pipeline:
        record(pipeline)
        lower = to_file(file, CaptureLevel.METADATA)
        assert pipeline.apply(lower, "hash-1").problems == ()
        assert pipeline.flush(PATIENCE_S)
        assert pipeline.status().destinations["a"].sent == 1
    assert CANARY.encode() not in file.read_bytes()


def problem(path: str) -> str:
    asked = Destination(protocol="file", path=path)
    (found,) = probe_all({"a": asked}, time.monotonic() + PATIENCE_S, {})
    assert found.path == "destinations.a.path"
    return found.found


def test_a_file_that_cannot_be_is_refused_under_its_path(folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "escape").symlink_to(tmp_path)
    for path, why in (
        (f"{tmp_path}/outside", f"{tmp_path}/outside"),
        (f"{folder}/../outside", f"{folder}/../outside"),
        (str(folder), str(folder)),
        ("", "nothing"),
        (f"{folder}/link", f"{folder}/link: a link, which is not followed"),
        (f"{folder}/escape/outside", f"{folder}/escape/outside: not a directory"),
        (f"{folder}/none/x", f"{folder}/none/x: no such file or directory"),
    ):
        assert problem(path) == why
    assert not (tmp_path / "outside").exists()


def test_without_leave_no_file_is_written_whatever_the_settings_say(tmp_path: Path) -> None:
    folders.permit([])
    assert problem(str(tmp_path / "a.jsonl")) == str(tmp_path / "a.jsonl")
    assert [*tmp_path.iterdir()] == []


def exchange() -> Exchange:
    return Exchange(None, None, time.monotonic() + PATIENCE_S)


BODY = request(3).SerializeToString()


def test_what_was_aborted_beforehand_is_never_written(folder: Path) -> None:
    over = exchange()
    over.abort()
    destination = Destination(protocol="file", path=str(folder / "a.jsonl"))
    assert FileSink().post(destination, "traces", BODY, {}, over).reason == "aborted"
    assert [*folder.iterdir()] == []


def test_headers_are_told_to_no_file(folder: Path) -> None:
    path, headers = str(folder / "a.jsonl"), {"authorization": "env:NOT_SET"}
    asked = Destination(protocol="file", path=path, headers=headers)
    assert probe_all({"a": asked}, time.monotonic() + PATIENCE_S, {}) == []


# -- the console -------------------------------------------------------------------------------


@contextmanager
def reading() -> Iterator[int]:
    """The reading end of a pipe that is the standard error meanwhile."""
    end, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, redirect_stderr(stream):
        yield end
    os.close(end)


def say(
    console: Console, body: bytes = BODY, timeout_s: float = 10.0, x: Exchange | None = None
) -> Answer:
    destination = Destination(protocol="console", timeout_s=timeout_s)
    return console.post(destination, "traces", body, {}, x or exchange())


def test_lines_are_written_to_the_standard_error() -> None:
    with reading() as end:
        assert say(Console()).succeeded
        (line,) = os.read(end, 65536).splitlines()
    assert len(json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]) == 3


def test_a_console_that_nobody_reads_is_given_up_and_its_next_line_is_whole() -> None:
    console, large = Console(), request(1, "x" * 200_000).SerializeToString()
    got: list[bytes] = []
    with reading() as end:
        given_up = say(console, large, timeout_s=0.1)
        assert given_up.reason == "console: nobody reads the standard error"
        drain = threading.Thread(target=_drain, args=(end, got))
        drain.start()
        assert say(console).succeeded
        drain.join(PATIENCE_S)
    cut, whole = b"".join(got).splitlines()
    assert cut.startswith(b'{"resourceSpans":')
    assert not cut.endswith(b"}")
    assert json.loads(whole)


def _drain(end: int, got: list[bytes]) -> None:
    while not b"".join(got).endswith(b"}\n"):
        got.append(os.read(end, 65536))


def test_a_line_that_waits_for_a_reader_can_be_ended() -> None:
    under_way, answers = exchange(), list[Answer]()
    large = request(1, "x" * 200_000).SerializeToString()
    with reading() as end:
        thread = threading.Thread(
            target=lambda: answers.append(say(Console(), large, 60.0, under_way))
        )
        thread.start()
        assert os.read(end, 1) == b"{"
        under_way.abort()
        thread.join(PATIENCE_S)
    assert [answer.reason for answer in answers] == ["aborted"]


def test_a_stream_without_a_descriptor_will_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert say(Console()).succeeded
    assert json.loads(capsys.readouterr().err)


def test_without_a_standard_error_there_is_no_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(KeyFault, match="without a standard error"):
        say(Console())
    asked = Destination(protocol="console")
    (found,) = probe_all({"a": asked}, time.monotonic() + PATIENCE_S, {})
    assert found.path == "destinations.a.protocol"


def test_a_backend_turns_from_one_protocol_to_another(folder: Path, sink: Sink) -> None:
    backend = Backend({})
    for destination in (
        Destination(protocol="file", path=str(folder / "a.jsonl")),
        Destination(endpoint=sink.url),
        Destination(protocol="file", path=str(folder / "b.jsonl")),
    ):
        assert backend.post("traces", destination, BODY, {}, exchange()).succeeded
    backend.close()
    assert len([*folder.iterdir()]) == 2
