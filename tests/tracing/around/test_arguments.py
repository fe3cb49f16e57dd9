from __future__ import annotations

import functools
from typing import Any

import pytest

from llm_observe.tracing.around.arguments import Arguments, function_name


def plain(a: int, *rest: int, b: int = 2, **more: int) -> None:
    """Says something.

    And more.
    """


class Owner:
    def method(self, a: int) -> None: ...

    @classmethod
    def made(cls, a: int) -> None: ...

    @staticmethod
    def free(a: int) -> None: ...


class Model:
    """Something callable, to which ``func`` means something of its own."""

    func = staticmethod(len)

    def __call__(self, question: str) -> None: ...


def test_arguments_go_by_the_names_of_the_function() -> None:
    found = Arguments(plain).bound((1, 2, 3), {"b": 4, "c": 5})
    assert found == {"a": 1, "rest": (2, 3), "b": 4, "more": {"c": 5}}


@pytest.mark.parametrize("name", ["method", "made"])
def test_the_object_of_a_method_is_no_argument(name: str) -> None:
    assert Arguments(Owner.__dict__[name]).bound((object(), 1), {}) == {"a": 1}


def test_a_static_method_has_no_object() -> None:
    assert Arguments(Owner.__dict__["free"]).bound((1,), {}) == {"a": 1}


def test_wrong_arguments_and_functions_without_a_signature_are_kept_raw() -> None:
    raw: dict[str, Any] = {"args": (), "kwargs": {}}
    assert Arguments(plain).bound((), {}) == raw
    assert Arguments(dict.fromkeys).bound((), {}) == raw


def test_of_a_partial_function_they_are_all_that_it_gets() -> None:
    partial = functools.partial(functools.partial(plain, 1), b=3)
    assert Arguments(partial).bound((7,), {"c": 5}) == {
        "a": 1, "rest": (7,), "b": 3, "more": {"c": 5},
    }  # fmt: skip


def test_of_a_callable_object_they_are_its_own() -> None:
    assert Arguments(Model()).bound(("why?",), {}) == {"question": "why?"}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (plain, "plain"),
        (Owner.method, "Owner.method"),
        (Owner.__dict__["made"], "Owner.made"),
        (functools.partial(functools.partial(plain, 1), 2), "plain"),
        (Owner(), "Owner"),
        (Model(), "Model"),
        (len, "len"),
    ],
)
def test_the_name_of_whatever_is_wrapped(function: Any, name: str) -> None:
    assert function_name(function) == name


def test_the_description_is_the_docstring() -> None:
    assert Arguments(plain).description.startswith("Says something.")
    assert Arguments(lambda: None).description == ""
