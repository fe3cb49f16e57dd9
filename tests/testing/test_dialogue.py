from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.testing.dialogue import DEFAULT_SYSTEM_PROMPT, messages_of


def turns(prompt: str, system: str | None = None) -> list[tuple[str, str]]:
    return [(each["role"], each["content"]) for each in messages_of(prompt, system)]


def test_a_plain_prompt_is_one_message_after_a_system_message() -> None:
    assert turns("What is water?") == [
        ("system", DEFAULT_SYSTEM_PROMPT),
        ("user", "What is water?"),
    ]


@pytest.mark.parametrize(
    "prompt",
    [
        "User: Hi\n\nAssistant: Hello!\n\nUser: Who are you?\n\nAssistant:",
        "Be kind.\nUser: Hi\nAssistant: Hello!\nUser: Who are you?\nAssistant: ",
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello! [INST] Who are you? [/INST]",
    ],
)
def test_turns_are_read_back_from_the_common_notations(prompt: str) -> None:
    expected = [("user", "Hi"), ("assistant", "Hello!"), ("user", "Who are you?")]
    assert turns(prompt)[1:] == expected


def test_the_given_system_prompt_wins_over_one_in_the_text() -> None:
    assert turns("Be kind.\nUser: Hi", "Be short.")[0] == ("system", "Be short.")
    assert turns("Be kind.\nUser: Hi")[0] == ("system", "Be kind.")
    assert turns("[INST] <<SYS>>Be kind.<</SYS>> Hi [/INST]")[0] == ("system", "Be kind.")


def test_neighbours_of_one_role_become_one_message() -> None:
    assert turns("User: a\nUser: b\nAssistant:")[1:] == [("user", "a\n\nb")]


@given(st.text(max_size=300), st.none() | st.text(max_size=50))
def test_any_prompt_gives_a_system_message_and_then_alternating_turns(
    prompt: str, system: str | None
) -> None:
    roles = [role for role, _ in turns(prompt, system)]
    assert roles[0] == "system"
    assert len(roles) >= 2
    assert all(a != b for a, b in pairwise(roles))
