"""One chat completion of the fake OpenAI: what was asked, and the answer whole or in events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from llm_observe.testing.engines import EngineError, GenerationRequest, TextChunk, Usage
from llm_observe.testing.faults import Fault

_SYSTEM = frozenset({"system", "developer"})


def question_of(body: Mapping[str, Any]) -> GenerationRequest:
    """Read a checked request as a question to the engine."""
    said = [(turn["role"], _text(turn.get("content"))) for turn in body["messages"]]
    turns = [(role, text) for role, text in said if role not in _SYSTEM]
    stop = body.get("stop") or ()
    return GenerationRequest(
        prompt=turns[0][1] if len(turns) == 1 else _as_text(turns),
        system_prompt="\n".join(text for role, text in said if role in _SYSTEM) or None,
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        seed=body.get("seed"),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _text(content: Any) -> str:
    """A message's text; of a list of parts those that are text."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def _as_text(turns: list[tuple[str, str]]) -> str:
    """Turns as one prompt, in the notation that `llm_observe.testing.dialogue` reads."""
    names = {"assistant": "Assistant"}
    return "\n".join(f"{names.get(role, 'User')}: {text}" for role, text in turns)


async def text_of(
    answer: AsyncGenerator[TextChunk | Usage], fault: Fault, completion: Completion
) -> AsyncGenerator[str]:
    """The pieces of the answer, as the script lets them through.

    Raises:
        EngineError: The engine cannot answer, or the script says so.
        ConnectionAbortedError: The script cuts the stream here.
    """
    seen = 0
    async with aclosing(answer):
        await _stumble(fault, seen)
        async for item in answer:
            if isinstance(item, Usage):
                completion.usage = item
                continue
            await asyncio.sleep(fault.chunk_s)
            seen += 1
            yield item.text
            await _stumble(fault, seen)


async def _stumble(fault: Fault, seen: int) -> None:
    if fault.fail_after == seen:
        raise EngineError(fault.error)
    if fault.break_stream_after == seen:
        raise ConnectionAbortedError("cut by the script")
    if fault.hang_after == seen:
        await asyncio.get_running_loop().create_future()  # until the client leaves


@dataclass(slots=True)
class Completion:
    """One answer under way."""

    id: str
    created: int
    model: str
    usage: Usage = field(default_factory=lambda: Usage(input_tokens=0, output_tokens=0))

    async def whole(self, answer: AsyncGenerator[str]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        text = "".join([piece async for piece in answer])
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None}
        choices = [{**choice, "finish_reason": self.usage.finish_reason}]
        return {**self._head("chat.completion"), "choices": choices, "usage": self._counts()}

    async def events(self, answer: AsyncGenerator[str], told: bool) -> AsyncIterator[str]:
        """Server-sent events; ``told``: usage comes in a last one, as ``include_usage`` asks."""
        async with aclosing(answer):
            yield self._event({"role": "assistant", "content": ""}, told)
            try:
                async for piece in answer:
                    yield self._event({"content": piece}, told)
            except EngineError as error:
                yield _line({"error": {"message": str(error), "type": "server_error"}})
                return
        yield self._event({}, told, self.usage.finish_reason)
        if told:
            head = self._head("chat.completion.chunk")
            yield _line({**head, "choices": [], "usage": self._counts()})
        yield "data: [DONE]\n\n"

    def _event(self, delta: Mapping[str, str], told: bool, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        event = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return _line({**event, "usage": None} if told else event)

    def _head(self, kind: str) -> dict[str, Any]:
        made = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**made, "system_fingerprint": "fp_fake"}

    def _counts(self) -> dict[str, int]:
        asked, made = self.usage.input_tokens or 0, self.usage.output_tokens or 0
        counts = {"prompt_tokens": asked, "completion_tokens": made}
        return {**counts, "total_tokens": asked + made}


def _line(event: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(event)}\n\n"
