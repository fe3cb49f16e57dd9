"""The start scripts on machines where something is missing: a sentence, and no exit code 0."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "sh", "dirname", "cat", "cksum", "df", "awk", "id", "tee", "grep", "tail", "env")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the scripts need of a checkout, elsewhere."""
    home = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", home / "scripts")
    shutil.copy(ROOT / "pyproject.toml", home)
    return home


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of commands that holds no Python and no apt-get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def command(tools: Path, name: str, text: str) -> None:
    path = tools / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def ran(checkout: Path, tools: Path, script: str = "demo") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(tools), "HOME": str(checkout)}
    return subprocess.run(
        [str(tools / "bash"), f"scripts/{script}"], cwd=checkout, env=environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("script", ["demo", "test"])
def test_no_python_is_said_with_the_command_that_helps(
    checkout: Path, tools: Path, script: str
) -> None:
    line = last_line(ran(checkout, tools, script))
    assert line.startswith(f"{script}: Python 3.11 or newer is needed; none was found")
    assert "apt-get install" in line


def test_too_old_a_python_is_named(checkout: Path, tools: Path) -> None:
    command(tools, "python3", "echo 3.9; exit 1")
    assert "python3 is 3.9" in last_line(ran(checkout, tools))


def test_without_the_venv_module_the_one_command_is_named(checkout: Path, tools: Path) -> None:
    command(tools, "python3", "case $2 in *ensurepip*) exit 1;; *) echo 3.12;; esac")
    command(tools, "id", "echo 1000")
    assert last_line(ran(checkout, tools)).endswith("sudo apt-get install python3.12-venv")


def test_root_installs_the_venv_module_and_says_so(checkout: Path, tools: Path) -> None:
    command(tools, "python3", "case $2 in *ensurepip*) exit 1;; *) echo 3.12;; esac")
    command(tools, "id", "echo 0")
    command(tools, "apt-get", f'echo "$@" >> {checkout}/asked; [ $1 = update ]')
    done = ran(checkout, tools)
    assert "installing python3.12-venv" in done.stderr
    assert "cannot install python3.12-venv" in last_line(done)
    assert "install -y -qq python3.12-venv" in (checkout / "asked").read_text()


def test_a_full_disk_is_said_before_anything_is_made(checkout: Path, tools: Path) -> None:
    command(tools, "df", "echo head; echo / 9 9 2048 99% /")
    assert "2 MB are free" in last_line(ran(checkout, tools))
    assert not (checkout / ".venv").exists()


def fake_environment(checkout: Path, tools: Path, pip: str) -> None:
    """An environment whose pip says and does as told."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    command(checkout / ".venv" / "bin", "python", f'case "$*" in *"-m pip"*) {pip};; esac')


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("WARNING: Retrying after connection broken", "the package index cannot be reached"),
        ("ERROR: No matching distribution found for x", "the package index cannot be reached"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("error: a compiler is missing", "the packages cannot be installed"),
    ],
)
def test_what_pip_failed_at_is_put_in_a_sentence(
    checkout: Path, tools: Path, said: str, sentence: str
) -> None:
    fake_environment(checkout, tools, f'echo "{said}"; exit 1')
    assert sentence in last_line(ran(checkout, tools))


def test_the_second_start_installs_nothing_and_passes_options_on(
    checkout: Path, tools: Path
) -> None:
    fake_environment(checkout, tools, f"echo installed >> {checkout}/asked")
    command(checkout / ".venv" / "bin", "llm-observe", 'echo "started: $*"')
    first = ran(checkout, tools)
    assert first.stdout == "started: demo\n", first.stderr
    installs = (checkout / "asked").read_text()
    assert ran(checkout, tools).stdout == "started: demo\n"
    assert (checkout / "asked").read_text() == installs
    (checkout / "pyproject.toml").write_text((checkout / "pyproject.toml").read_text() + "\n")
    ran(checkout, tools)
    assert (checkout / "asked").read_text() != installs


def test_scripts_are_bash_that_parses() -> None:
    for name in ("demo", "test", "environment.sh"):
        subprocess.run(["bash", "-n", str(ROOT / "scripts" / name)], check=True)
    assert os.access(ROOT / "scripts" / "demo", os.X_OK)


def openmp(checkout: Path, tools: Path, said: str, user: int) -> str:
    """What the scripts say and call where the engine's import says ``said``."""
    (checkout / "venv/bin").mkdir(parents=True)
    command(checkout / "venv/bin", "python", f"echo '{said}' >&2; exit 1")
    command(tools, "id", f"echo {user}")
    command(tools, "apt-get", 'echo "apt-get $*" >>"$HOME/calls"')
    script = "set -euo pipefail; . scripts/environment.sh; venv=$PWD/venv; need_openmp"
    done = subprocess.run(
        [str(tools / "bash"), "-c", script], cwd=checkout,
        env={"PATH": str(tools), "HOME": str(checkout)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    calls = checkout / "calls"
    return done.stderr + (calls.read_text() if calls.exists() else "")


MISSING = "ImportError: libgomp.so.1: cannot open shared object file"


def test_the_engines_library_is_installed_where_that_is_allowed(
    checkout: Path, tools: Path
) -> None:
    assert "install -y -qq libgomp1" in openmp(checkout, tools, MISSING, user=0)


def test_the_engines_library_is_named_where_it_cannot_be_installed(
    checkout: Path, tools: Path
) -> None:
    said = openmp(checkout, tools, MISSING, user=1000)
    assert "sudo apt-get install libgomp1" in said
    assert "-y" not in said


def test_an_engine_that_fails_otherwise_needs_no_library(checkout: Path, tools: Path) -> None:
    assert openmp(checkout, tools, "ModuleNotFoundError: xllamacpp", user=0) == ""
