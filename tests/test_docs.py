"""The docs say what the code does: made pages are current, links resolve, commands exist."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_observe.cli.main import NOUNS, load
from llm_observe.cli.run_options import split
from llm_observe.settings.schema import parse, validate

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"])
GENERATED = ("environment.md", "settings.md", "settings.schema.json")
_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def make_docs() -> Any:
    path = ROOT / "scripts" / "make_docs.py"
    spec = importlib.util.spec_from_file_location("make_docs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Page and text of every code block of one language."""
    for page in PAGES:
        for indent, kind, body in _FENCE.findall(page.read_text()):
            if kind == language:
                yield (
                    page.name,
                    "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True)),
                )


def commands() -> Iterator[tuple[str, str]]:
    for page, body in blocks("bash"):
        for line in body.replace("\\\n", " ").splitlines():
            if line.startswith("llm-observe "):
                yield page, line


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", GENERATED)
def test_pages_made_from_the_code_are_current(name: str) -> None:
    wanted = make_docs().PAGES[name]()
    assert (ROOT / "docs" / name).read_text() == wanted, "run: python scripts/make_docs.py"


def test_every_key_in_the_docs_names_the_test_that_observes_it() -> None:
    docs = make_docs()
    there = set(re.findall(r"^def (test_\w+)\(", (ROOT / docs._TESTS).read_text(), re.MULTILINE))
    named = re.findall(r"\[(test_\w+)\]", (ROOT / "docs" / "settings.md").read_text())
    assert named
    assert {*named} <= there


def outline(document: dict[str, Any]) -> dict[str, Any]:
    """What matters of an OpenAPI document, whatever release of the framework wrote it."""
    routes = {
        f"{method} {path}": (
            sorted(p["name"] for p in route.get("parameters", [])),
            sorted(route["responses"]),
        )
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    }
    schemas = {
        name: sorted(schema.get("properties", schema.get("enum", [])))
        for name, schema in document["components"]["schemas"].items()
        if not name.endswith("ValidationError")
    }
    return {"routes": routes, "schemas": schemas}


def test_the_openapi_document_is_current() -> None:
    committed = json.loads((ROOT / "docs" / "openapi.json").read_text())
    made = json.loads(make_docs().PAGES["openapi.json"]())
    assert outline(committed) == outline(made), "run: python scripts/make_docs.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(("page", "line"), [*commands()])
def test_commands_in_the_docs_exist_with_their_options(page: str, line: str) -> None:
    words = shlex.split(line.partition(" > ")[0].partition(" | ")[0])[1:]
    if words[0].startswith("-"):
        return
    assert words[0] in NOUNS, page
    command = load(words[0])
    if words[0] == "run":  # the words of the program that is run are its own
        words = split(words[1:])[0]
    if hasattr(command, "commands"):
        command, words = command.commands[words[1]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known, page


@pytest.mark.parametrize(("page", "body"), [*blocks("python")])
def test_python_in_the_docs_compiles(page: str, body: str) -> None:
    compile(body, page, "exec")


def test_settings_in_the_docs_are_valid() -> None:
    documents = [parse(body.encode()) for _, body in blocks("yaml") if body.startswith("dest")]
    assert documents
    for document in documents:
        validate(document)


def test_every_guide_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert all(
        page.name in index for page in (ROOT / "docs").glob("*.md") if page.name != "index.md"
    )


def test_every_command_and_exit_code_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert all(f"`{name}" in page for name in NOUNS)
    assert all(f"| {code} |" in page for code in (0, 1, 2, 3, 64, 130))
