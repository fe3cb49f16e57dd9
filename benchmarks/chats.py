"""Chats to redact: prose with numbers, prices and dates, and a few things that must not leave."""

from __future__ import annotations

import random
from typing import NamedTuple

SENTENCES = (
    "The llama is a domesticated South American camelid, kept as a pack animal since 4000 BC.",
    "Could you compare the two plans for me? The first costs $49.90 a month, the second $1,299 a year.",
    "On 2024-03-17 at 14:05 the deployment finished in 312 seconds; 3 of 48 pods were restarted.",
    "Please summarise the attached notes in five bullet points, and keep the names of the products.",
    "In chapter 4.2.1 the author argues that most herds were smaller than 250 animals: see page 118.",
    "def mean(values: list[float]) -> float: return sum(values) / len(values) if values else 0.0",
    "Order 2024-118-77 was shipped in two parcels, the invoice says 17.5 kg and 12 items.",
    "It's a good question; there are at least three ways to answer it, and none of them is simple.",
    "The key idea is to ask for less: fewer tokens, shorter answers, and one request instead of ten.",
    "See https://docs.example.org/guide/v2/start?lang=en#install for how version 3.11 is installed.",
    "请把下面的段落翻译成英文，并保留原来的格式。预算大约是三万五千元。",
    "Wool of the third shearing (about 1,850 g) is sorted into 5 grades before it is washed at 40 °C.",
)

FINDS = (
    "ann.miller@example.org",
    "4111 1111 1111 1111",
    "203.0.113.77",
    "+49 30 901820-17",
    "sk-proj-Zx81kQpL02vTnB7dRw93",
    "DE89 3704 0044 0532 0130 00",
    "078-05-1121",
    "bob@mail.example.com",
)
"""One in about 700 characters, so that a page has some of them."""

_EVERY = 700
_TURN = 450


class Chat(NamedTuple):
    """One conversation and its answer; ``finds``: what of `FINDS` is in it, in order."""

    turns: tuple[str, ...]
    finds: tuple[str, ...]


def chat(source: random.Random, size: int, *, with_finds: bool) -> Chat:
    """One of about so many characters."""
    finds: list[str] = []
    turns: list[str] = []
    written = 0
    while written < size:
        turn = _turn(source, min(_TURN, size - written))
        if with_finds and (written + len(turn)) // _EVERY > len(finds) - (not finds):
            finds.append(FINDS[len(finds) % len(FINDS)])
            turn = f"{turn} It is {finds[-1]} I think."
        turns.append(turn)
        written += len(turn)
    return Chat(tuple(turns), tuple(finds))


def _turn(source: random.Random, size: int) -> str:
    text = ""
    while len(text) < size:
        text += source.choice(SENTENCES) + " "
    return text[:size].strip() + f" ({source.randrange(100, 999)})"
