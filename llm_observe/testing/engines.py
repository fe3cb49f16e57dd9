"""What answers behind a fake server: one interface, whatever makes the text.

An engine is asked with a `GenerationRequest` and yields `TextChunk`s as they come, then exactly
one `Usage` with the true counts. It raises `EngineError` when it cannot answer. Closing the
generator (`aclose`, or a cancelled task) stops the work at once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Literal, Protocol

import anyio

FinishReason = Literal["stop", "length"]


class EngineError(Exception):
    """The engine cannot answer; the message is fit for the one who asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One question. None means that the caller has no opinion."""

    prompt: str
    """What the user says; for a chat, its turns as text (see `llm_observe.testing.dialogue`)."""

    system_prompt: str | None = None
    """What the model is told to be."""

    temperature: float | None = None
    """Randomness; 0 always takes the likeliest token."""

    top_p: float | None = None
    """Share of the probability mass to choose from, above 0 to 1."""

    top_k: int | None = None
    """How many of the likeliest tokens to choose from."""

    seed: int | None = None
    """The same seed and question give the same answer, on one machine."""

    max_tokens: int | None = None
    """Most tokens of the answer."""

    stop: tuple[str, ...] = ()
    """Texts that end the answer; they are not part of it."""


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A piece of the answer, never empty."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the answer took, by the engine's own count. None means: the engine does not say."""

    input_tokens: int | None
    output_tokens: int | None
    finish_reason: FinishReason = "stop"


class Engine(Protocol):
    """Something that answers."""

    @property
    def name(self) -> str:
        """What answers: a model's name, or ``scripted``."""

    @property
    def real(self) -> bool:
        """True when a model makes the text."""

    @property
    def reason(self) -> str:
        """Why it is this engine, in a sentence; may be empty."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[TextChunk | Usage]:
        """Yield the text as it comes, then one `Usage`.

        Raises:
            EngineError: It cannot answer (this may come in the middle of an answer).
        """

    async def aclose(self) -> None:
        """Let go of connections; the engine is not used afterwards."""


_TOKEN = re.compile(r"\s*\S+|\s+")

_DEFAULT_ANSWERS = (
    "I am scripted text, not a model: every answer comes from a list. "
    "Install the local Llama or set an API token to talk to a real one.",
    "This is still scripted text. It streams word by word so that timing and tokens can be seen.",
)


def scripted_tokens(text: str) -> list[str]:
    """Cut text into words, each with the white space before it; joined they give the text.

    This is the unit that `ScriptedEngine` emits and counts.
    """
    return _TOKEN.findall(text)


Answers = Sequence[str] | Callable[[GenerationRequest], str]


class ScriptedEngine:
    """Answers from a script, word by word, the same way every time.

    Args:
        answers: The answers in turn (after the last comes the first again), or a function of
            the request.
        first_delay_s: Seconds before the first word.
        delay_s: Seconds before each further word.
        sleep: How to wait; tests may pass a function that steps a clock of their own.
        reason: Why text is scripted, in a sentence, for `/healthz`.

    Counts are of words (`scripted_tokens`): those of the prompt and the system prompt in, those
    really emitted out. `max_tokens` and `stop` are honoured; the other parameters change nothing.
    `requests` holds every request so far, the newest 1000.
    """

    name = "scripted"
    real = False

    def __init__(
        self,
        answers: Answers = _DEFAULT_ANSWERS,
        *,
        first_delay_s: float = 0.0,
        delay_s: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        reason: str = "text from a script",
    ) -> None:
        if not callable(answers) and not answers:
            raise ValueError("a script needs at least one answer")
        self.reason = reason
        self.requests: list[GenerationRequest] = []
        self._answers, self._turn = answers, count()
        self._first_delay_s, self._delay_s, self._sleep = first_delay_s, delay_s, sleep

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextChunk | Usage]:
        """Emit the next answer of the script."""
        self.requests = [*self.requests[-999:], request]
        words, finish_reason = _limited(self._answer(request), request)
        for delay, word in zip(self._delays(), words, strict=False):
            await self._sleep(delay)
            yield TextChunk(word)
        asked = (request.system_prompt or "") + " " + request.prompt
        yield Usage(
            input_tokens=len(asked.split()), output_tokens=len(words), finish_reason=finish_reason
        )

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _answer(self, request: GenerationRequest) -> str:
        if callable(self._answers):
            return self._answers(request)
        return self._answers[next(self._turn) % len(self._answers)]

    def _delays(self) -> Iterator[float]:
        return chain([self._first_delay_s], iter(lambda: self._delay_s, None))


def _limited(text: str, request: GenerationRequest) -> tuple[list[str], FinishReason]:
    ends = [at for stop in request.stop if stop and (at := text.find(stop)) >= 0]
    words = scripted_tokens(text[: min(ends, default=len(text))])
    if request.max_tokens is None or len(words) <= request.max_tokens:
        return words, "stop"
    return words[: request.max_tokens], "length"
