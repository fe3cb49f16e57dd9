"""What a user gets from the wheel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    code = f"import hatchling.build; print(hatchling.build.build_wheel({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="session")
def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def tracked(*patterns: str) -> set[str]:
    """Files of the repository below the two packages."""
    done = subprocess.run(
        ["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "pattern",
    [
        "llm_observe/*.py", "chatbot_app/*.py", "llm_observe/opamp/_pb", "llm_observe/control/templates",
        "llm_observe/control/static", "llm_observe/control/store/migrations", "*/py.typed",
    ],
)  # fmt: skip
def test_every_file_of_the_packages_is_in_the_wheel(names: set[str], pattern: str) -> None:
    wanted = tracked(pattern)
    assert wanted
    assert wanted <= names


def test_nothing_else_is_in_the_wheel(names: set[str]) -> None:
    roots = {name.partition("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {
        "llm_observe",
        "chatbot_app",
    }
    assert not [name for name in names if name.endswith((".pyc", ".db", ".gguf"))]


def test_the_licence_and_the_command_are_in_the_wheel(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        metadata = [name for name in archive.namelist() if ".dist-info/" in name]
        assert any(name.endswith("licenses/LICENSE") for name in metadata)
        points = next(name for name in metadata if name.endswith("entry_points.txt"))
        assert b"llm-observe = llm_observe.cli.start:main" in archive.read(points)


def test_the_installed_package_finds_its_parts(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, with this environment's libraries: files are found beside the code."""
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = """
import importlib.resources, importlib.util, json, llm_observe.opamp._pb
from pathlib import Path
from llm_observe.cli.demo_plan import Plan, programs
plan = Plan(1, 2, 3, 4, True, True, Path("/data"), replicate=False)
package = importlib.resources.files("llm_observe")
print(json.dumps({
    "home": str(package), "page": importlib.util.find_spec("chatbot_app").origin,
    "programs": [program.name for program in programs(plan, {})],
    "templates": len([*(package / "control" / "templates").iterdir()]),
}))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(tmp_path / "site")}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["home"] == str(tmp_path / "site" / "llm_observe")
    assert found["page"] == str(tmp_path / "site" / "chatbot_app" / "__init__.py")
    assert found["programs"] == ["control plane", "local Llama", "chatbot"]
    assert found["templates"] > 0


def test_the_core_needs_no_extra(wheel: Path, tmp_path: Path) -> None:
    """What the metadata asks for without an extra is what the core imports."""
    with ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    plain = [
        line.removeprefix("Requires-Dist: ")
        for line in metadata.splitlines()
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]
    assert any(line.startswith("opentelemetry-sdk") for line in plain)
    assert not any(
        line.startswith(("fastapi", "streamlit", "pandas", "typer", "httpx")) for line in plain
    )
