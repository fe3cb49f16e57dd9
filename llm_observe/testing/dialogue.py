"""Chat turns inside one prompt string: how Llama 2 chatbots write them, and how to read them back.

Replicate's Llama models take one `prompt` and one `system_prompt`; a chat model behind an
OpenAI-compatible server takes messages. `messages_of` maps the first onto the second. It reads
the two common notations: lines that begin with ``User:`` and ``Assistant:``, and Llama 2's own
``[INST] … [/INST]``. Any other prompt is one message of the user.
"""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter
from typing import TypedDict

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant."

_TURN = re.compile(r"(?:^|\n)\s*(User|Assistant):[ \t]*", re.IGNORECASE)
_INST = re.compile(r"\[INST\](.*?)\[/INST\]([^\[]*)", re.DOTALL)
_SYS = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.DOTALL)


class Message(TypedDict):
    """One message of a chat."""

    role: str
    content: str


def messages_of(prompt: str, system_prompt: str | None = None) -> list[Message]:
    """Read a prompt as chat messages; the first is always a system message.

    The system message is the one given, else what stands before the first turn or in
    ``<<SYS>>``, else `DEFAULT_SYSTEM_PROMPT`: small models drift without one.
    An unfinished ``Assistant:`` at the end is where the answer goes, not a message.
    """
    text, inner = _without_system(prompt)
    preface, turns = _turns(text)
    system = next(filter(None, (_clean(system_prompt), inner, preface)), DEFAULT_SYSTEM_PROMPT)
    return [Message(role="system", content=system), *_merged(turns)]


def _clean(text: str | None) -> str:
    return (text or "").strip()


def _without_system(prompt: str) -> tuple[str, str]:
    found = _SYS.search(prompt)
    return (_SYS.sub("", prompt), found[1].strip()) if found else (prompt, "")


def _turns(text: str) -> tuple[str, list[tuple[str, str]]]:
    pairs = _INST.findall(text)
    if pairs:
        return "", [turn for ask, say in pairs for turn in (("user", ask), ("assistant", say))]
    preface, *parts = _TURN.split(text)
    turns = [(role.lower(), said) for role, said in zip(parts[::2], parts[1::2], strict=True)]
    if any(role == "user" and said.strip() for role, said in turns):
        return preface.strip(), turns
    return "", [("user", text)]


def _merged(turns: list[tuple[str, str]]) -> list[Message]:
    """Drop empty turns, and join neighbours of one role: chat templates want them to alternate."""
    said = [(role, text.strip()) for role, text in turns if text.strip()] or [("user", "")]
    return [
        Message(role=role, content="\n\n".join(text for _, text in group))
        for role, group in groupby(said, key=itemgetter(0))
    ]
