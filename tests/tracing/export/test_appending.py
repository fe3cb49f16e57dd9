"""A file in a permitted folder: who may write it, how it makes room, how several share it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_observe.tracing.export.appending import Place, append
from tests.tracing.export.drive import PATIENCE_S

LINE = b'{"n":1}\n'


def put(
    folder: Path, name: str = "a.jsonl", *lines: bytes, most: int = 10_000, kept: int = 3
) -> Path:
    place = Place(str(folder), name.split("/"), most, kept)
    append(place, lines or [LINE], time.monotonic() + PATIENCE_S)
    return folder / name


def test_a_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        file = put(tmp_path)
    finally:
        os.umask(old)
    assert file.stat().st_mode & 0o777 == 0o600
    assert put(tmp_path).read_bytes() == LINE * 2


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    file = put(tmp_path)
    file.chmod(0o644)
    assert put(tmp_path).stat().st_mode & 0o777 == 0o600


def test_without_lines_it_is_only_made(tmp_path: Path) -> None:
    append(Place(str(tmp_path), ("a.jsonl",), 100, 1), [], time.monotonic() + PATIENCE_S)
    assert (tmp_path / "a.jsonl").read_bytes() == b""


def link(folder: Path, outside: Path) -> None:
    (folder / "a.jsonl").symlink_to(outside / "secret")


def hard_link(folder: Path, outside: Path) -> None:
    (outside / "secret").write_bytes(b"{}\n")
    (folder / "a.jsonl").hardlink_to(outside / "secret")


def pipe(folder: Path, outside: Path) -> None:
    os.mkfifo(folder / "a.jsonl")


def another(folder: Path, outside: Path) -> None:
    (folder / "a.jsonl").write_bytes(b"root:x:0:0")


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (link, "a link, which is not followed"),
        (hard_link, "a file with several names"),
        (pipe, "no plain file"),
        (another, "a file of something else"),
    ],
)
def test_what_is_no_file_of_ours_is_not_written(
    tmp_path: Path, prepare: Callable[[Path, Path], None], why: str
) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    prepare(folder, outside)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(OSError, match=why):
        put(folder)
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before


def test_a_folder_below_must_not_be_a_link_either_but_the_permitted_one_may(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    (folder / "inner").mkdir(parents=True)
    outside.mkdir()
    (folder / "escape").symlink_to(outside)
    with pytest.raises(NotADirectoryError):
        put(folder, "escape/a.jsonl")
    assert [*outside.iterdir()] == []
    (tmp_path / "named").symlink_to(folder)
    assert put(tmp_path / "named", "inner/a.jsonl").read_bytes() == LINE


def test_a_file_that_is_full_is_moved_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    for number in range(10):
        put(tmp_path, "a.jsonl", json.dumps({"n": number}).encode() + b"\n", most=20, kept=2)
    found = {
        file.name: [json.loads(x)["n"] for x in file.read_text().splitlines()]
        for file in tmp_path.iterdir()
    }
    assert found == {"a.jsonl": [8, 9], "a.jsonl.1": [6, 7], "a.jsonl.2": [4, 5]}
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    put(tmp_path, "a.jsonl", LINE * 3, most=20, kept=1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.1"]


def test_where_none_is_kept_the_file_begins_anew(tmp_path: Path) -> None:
    for _ in range(5):
        put(tmp_path, "a.jsonl", LINE, most=20, kept=0)
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]
    assert (tmp_path / "a.jsonl").stat().st_size <= 20


def test_a_line_that_is_larger_than_the_file_may_be_stands_alone(tmp_path: Path) -> None:
    large = b'{"x":"' + b"x" * 100 + b'"}\n'
    file = put(tmp_path, "a.jsonl", LINE, large, LINE, most=50)
    assert file.read_bytes() == LINE
    assert file.with_name("a.jsonl.1").read_bytes() == large


def test_a_line_that_a_process_died_in_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    put(tmp_path).write_bytes(LINE + b'{"n":')
    assert put(tmp_path).read_bytes() == LINE + b'{"n":\n' + LINE


def test_a_file_that_somebody_holds_is_waited_for_and_not_for_ever(tmp_path: Path) -> None:
    file = put(tmp_path)
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="locked by another process"):
            append(Place(str(tmp_path), ("a.jsonl",), 100, 1), [LINE], time.monotonic() + 0.05)
    assert put(tmp_path).read_bytes() == LINE * 2


def test_it_ends_between_two_lines_when_told_to(tmp_path: Path) -> None:
    asked = iter([False, True])
    place = Place(str(tmp_path), ("a.jsonl",), 100, 1)
    append(place, [LINE] * 5, time.monotonic() + PATIENCE_S, lambda: next(asked))
    assert (tmp_path / "a.jsonl").read_bytes() == LINE


WRITER = """
import sys, time
from llm_observe.tracing.export.appending import Place, append
folder, name, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(200):
    line = b'{"w":"%s","n":%d,"x":"%s"}\\n' % (name.encode(), number, b"x" * (number % 50))
    append(Place(folder, ("a.jsonl",), most, 20), [line], time.monotonic() + 60)
"""


def test_several_processes_share_a_file_and_lose_no_line(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name, "4000"])
        for name in "abc"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines = [
        json.loads(line) for file in tmp_path.iterdir() for line in file.read_text().splitlines()
    ]
    found = sorted((line["w"], line["n"]) for line in lines)
    assert found == [(name, number) for name in "abc" for number in range(200)]
    assert 5 < len([*tmp_path.iterdir()]) <= 21
    assert all(file.stat().st_size <= 4000 for file in tmp_path.iterdir())


def test_a_file_that_was_moved_aside_before_it_was_locked_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, lock = put(tmp_path), fcntl.flock

    def just_too_late(fd: int, how: int) -> None:
        if not file.with_name("a.jsonl.1").exists():
            file.rename(file.with_name("a.jsonl.1"))
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", just_too_late)
    put(tmp_path)
    assert file.read_bytes() == file.with_name("a.jsonl.1").read_bytes() == LINE


FULL = """
import resource, sys, time
from llm_observe.tracing.export.appending import Place, append
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
place = Place(sys.argv[1], ("a.jsonl",), 10_000, 1)
for _ in range(30):
    try:
        append(place, [b'{"n":1}\\n'], time.monotonic() + 60)
    except OSError:
        sys.exit(7)
"""


def test_a_disk_that_is_full_keeps_no_half_line(tmp_path: Path) -> None:
    """A limit on the size of files stands for it."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], check=False)
    assert done.returncode == 7
    assert (tmp_path / "a.jsonl").read_bytes() == LINE * 12


FORKING = """
import os, sys, time
from llm_observe.tracing.export.appending import Place, append
place, children = Place(sys.argv[1], ("a.jsonl",), 10_000, 1), []
def fork():
    children.append(os.fork())
    if not children[-1]:
        time.sleep(120)
        os._exit(0)
    return False
append(place, [b'{"n":1}\\n'], time.monotonic() + 60, fork)
try:
    append(place, [b'{"n":1}\\n'], time.monotonic() + 1)
finally:
    os.kill(children[0], 9)
"""


def test_a_child_forked_meanwhile_does_not_keep_the_file_locked(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORKING, str(tmp_path)], check=False)
    assert done.returncode == 0
    assert (tmp_path / "a.jsonl").read_bytes() == LINE * 2
