from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.conventions import kind_of
from llm_observe.tracing.around import kinds
from llm_observe.tracing.around.values import MAX_CHARACTERS, MAX_ITEMS

SAMPLES: list[dict[str, Any]] = [
    *(kinds.start(kind, "name") for kind in sorted(kinds.KINDS)),
    *(kinds.value(side, [1]) for side in ("input", "output")),
    kinds.tool("name", {"a": 1}, "does", "c-1"),
    kinds.agent("planner"),
    kinds.prompt("Hi {name}", {"name": "Ann"}, "v1"),
    *(
        kinds.documents([{"id": 1, "score": 1, "content": "a", "metadata": {"b": 1}}], kind, side)
        for kind in ("retriever", "reranker", "chain")
        for side in ("input", "output")
    ),
    *(kinds.given(kind, {"a": 1}) for kind in sorted(kinds.KINDS)),
    *(kinds.made(kind, ["text"]) for kind in sorted(kinds.KINDS)),
    kinds.function("tool", "does"),
]


@pytest.mark.parametrize("attributes", SAMPLES)
def test_every_key_is_known_to_the_conventions(attributes: dict[str, Any]) -> None:
    assert [key for key in attributes if kind_of(key) is None] == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (True, True),
        (1, 1),
        (0.5, 0.5),
        (numpy.float32(0.5), 0.5),
        (numpy.int64(3), 3),
        ("text", "text"),
        (["a", "b"], ["a", "b"]),
        ((1, 2), [1, 2]),
        ([1, "a"], '[1, "a"]'),
        ([], "[]"),
        ({"a": 1}, '{"a": 1}'),
        (None, "null"),
        (object(), '"<object>"'),
    ],
)
def test_attributes_are_what_opentelemetry_can_hold(given: Any, kept: Any) -> None:
    assert kinds.attribute(given) == kept


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ("text", {"content": "text"}),
        ({"text": "a", "id": 7}, {"content": "a", "id": "7"}),
        ({"page_content": "a", "score": 1}, {"content": "a", "score": 1.0}),
        (
            {"text": "a", "id": numpy.int64(7), "score": numpy.float32(0.5)},
            {"content": "a", "id": "7", "score": 0.5},
        ),
        ({"content": {"a": 1}, "metadata": None}, {"content": '{"a": 1}'}),
        (SimpleNamespace(content="a", metadata={"p": 1}), {"content": "a", "metadata": '{"p": 1}'}),
        ({"score": "high"}, {"score": "high"}),
        (7, {}),
    ],
)
def test_documents_of_every_make(document: Any, fields: dict[str, Any]) -> None:
    found = kinds.documents([document], "retriever", "output")
    prefix = "retrieval.documents.0.document."
    assert {key.removeprefix(prefix): value for key, value in found.items()} == fields


def test_documents_share_one_bound() -> None:
    found = kinds.documents(("x" * MAX_CHARACTERS for _ in range(10**9)), "retriever", "output")
    assert len(found) == MAX_ITEMS
    assert sum(map(len, found.values())) < MAX_CHARACTERS + MAX_ITEMS * 50


@given(st.text(max_size=40))
def test_any_text_is_a_kind_or_becomes_a_chain(text: str) -> None:
    assert kinds.known(text) in kinds.KINDS


def test_a_kind_in_any_case_is_known() -> None:
    assert kinds.known("TOOL") == "tool"
