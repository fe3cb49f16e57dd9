"""The words of the matrix: what a surface is, what an ending is, and which pairs make sense.

A surface is one way to ask a model through a client. An ending is one way for it to end, or one
circumstance under which it happens. Every pair is run, or has its reason here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from llm_observe.testing import Fault

MODEL = "meta/llama-2-7b-chat"
DEPLOYMENT = "acme/chat"
WORDS = ["Llamas", " live", " in", " Peru."]
ANSWER = "".join(WORDS)
CANARY = "canary-of-the-matrix"
PROMPT = "Where do llamas live?"
ASKED = {
    "prompt": PROMPT,
    "system_prompt": "Be brief.",
    "temperature": 0.7,
    "max_new_tokens": 64,
}
INPUT_TOKENS = 6

Shape = Literal["value", "stream", "handle"]
"""``value``: the answer is returned. ``stream``: an iterator of it is. ``handle``: an object is
returned, by whose means the answer is waited for."""


@dataclass(slots=True)
class Situation:
    """What one surface is called with."""

    url: str
    client: Any
    input: dict[str, Any]
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """One way to ask. With ``is_async``, ``open`` and ``finish`` are coroutine functions."""

    name: str
    shape: Shape
    open: Callable[[Situation], Any]
    finish: Callable[[Situation, Any], Any] | None = None
    """For a handle: wait for its end; may return another object to look at."""
    is_async: bool = False
    asks: str = MODEL
    """The model as the request names it; nothing if it names a version only."""
    lazy: bool = False
    """Nothing happens before the first step of the stream."""
    live: bool = False
    """The stream's pieces arrive while they are made."""
    sends_events: bool = False
    """The answer comes as server-sent events, whose numbers are fetched afterwards."""
    fault: Fault | None = None
    """How its prediction goes where the ending has no opinion."""
    alike: str = ""
    """A surface with which it shares its code; then a plain run takes only the `NARROW` endings."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Endings that this surface cannot have, with the reason."""


SMOOTH = Fault(chunk_s=0.002)
"""It goes right, piece by piece."""

How = Literal["complete", "break", "close", "collect", "unread", "body", "cancel", "elsewhere"]
Under = Literal["plain", "unsampled", "suppressed", "nested"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ending:
    """One way to end, or one circumstance."""

    name: str
    how: How = "complete"
    fault: Fault = SMOOTH
    given: Callable[[], dict[str, Any]] = dict
    """More input."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """More parameters of the call."""
    under: Under = "plain"
    whole: bool = True
    """The answer arrives in full."""


def _no_json() -> dict[str, Any]:
    return {"labels": {"a"}, "pair": ("b", 1), "picture": Path(__file__)}


def _chat() -> dict[str, Any]:
    turns = [
        {"role": "user" if n % 2 == 0 else "assistant", "content": f"turn {n}"} for n in range(200)
    ]
    return {"messages": turns}


ENDINGS = (
    Ending(name="complete"),
    Ending(name="break", how="break", whole=False),
    Ending(name="close", how="close", whole=False),
    Ending(name="garbage-collected", how="collect", whole=False),
    Ending(name="never read", how="unread", whole=False),
    Ending(name="exception in the loop's body", how="body", whole=False),
    Ending(name="cancelled", how="cancel", fault=Fault(chunk_s=0.002, hang_after=1), whole=False),
    Ending(name="finished in another thread or task", how="elsewhere"),
    Ending(name="cancelled at the server", fault=Fault(chunk_s=0.002, cancel_after=1), whole=False),
    Ending(
        name="failed at the server",
        fault=Fault(chunk_s=0.002, fail_after=1, logs=CANARY),
        whole=False,
    ),
    Ending(name="refused", fault=Fault(status=422, detail="no such input"), whole=False),
    Ending(name="connection lost", fault=Fault(no_answer=True), whole=False),
    Ending(name="unsampled", under="unsampled"),
    Ending(name="suppressed", under="suppressed"),
    Ending(
        name="values that are not JSON",
        given=_no_json,
        params={"file_encoding_strategy": "base64"},
    ),
    Ending(name="values that cannot be sent", given=lambda: {"what": object()}, whole=False),
    Ending(name="200 messages", given=_chat),
    Ending(name="1 MB prompt", given=lambda: {"prompt": "llama " * 175_000}),
    Ending(name="nested in another instrumentor", under="nested"),
)

NARROW = frozenset(
    {
        "complete",
        "garbage-collected",
        "cancelled",
        "failed at the server",
        "suppressed",
        "nested in another instrumentor",
    }
)
"""Endings that every surface has in every run, where it can have them."""

NO_STREAM = "the answer comes whole: there is no loop to leave and nothing to close"
NO_ITERATOR = "the caller holds an object to wait on, not an iterator"
NO_CANCEL = "a thread cannot be cancelled; only a task can"

REASONS: Mapping[tuple[Shape, How], str] = MappingProxyType(
    {
        ("value", "break"): NO_STREAM,
        ("value", "close"): NO_STREAM,
        ("value", "collect"): NO_STREAM,
        ("value", "unread"): NO_STREAM,
        ("value", "body"): NO_STREAM,
        ("handle", "break"): NO_ITERATOR,
        ("handle", "close"): NO_ITERATOR,
        ("handle", "unread"): "an object that nobody waits on: see garbage-collected",
    }
)


class Case(NamedTuple):
    """One cell of the matrix."""

    surface: Surface
    ending: Ending

    @property
    def fault(self) -> Fault:
        """What the server is told to do."""
        own = self.surface.fault
        return own if own is not None and self.ending.fault == SMOOTH else self.ending.fault

    @property
    def begins(self) -> bool:
        """Whether a call begins at all."""
        return not (self.surface.lazy and self.ending.how == "unread")

    @property
    def name(self) -> str:
        """As the test's id; without spaces, so that it can be chosen by `pytest -k`."""
        return re.sub(r"[^\w.()]+", "-", f"{self.surface.name}/{self.ending.name}")


def reason(surface: Surface, ending: Ending) -> str:
    """Why a pair makes no sense; empty if it does."""
    if ending.name in surface.lacks:
        return surface.lacks[ending.name]
    if ending.how == "cancel" and not surface.is_async:
        return NO_CANCEL
    return REASONS.get((surface.shape, ending.how), "")


def cases(surfaces: tuple[Surface, ...], *, all_of_them: bool = True) -> Iterator[Case]:
    """Every pair that makes sense; or fewer where a surface is like another."""
    for surface in surfaces:
        for ending in ENDINGS:
            asked = all_of_them or not surface.alike or ending.name in NARROW
            if asked and not reason(surface, ending):
                yield Case(surface, ending)
