"""An engine that asks any OpenAI-compatible server, such as llama.cpp's."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any

import httpx

from llm_observe.testing.dialogue import messages_of
from llm_observe.testing.engines import (
    EngineError,
    FinishReason,
    GenerationRequest,
    TextChunk,
    Usage,
)

_MAX_LINE = 1_000_000
_NONE: Mapping[str, str] = MappingProxyType({})


class OpenAIEngine:
    """Answers by a chat completion of an OpenAI-compatible server, streamed.

    Args:
        base_url: The server, with or without ``/v1``.
        model: The model to ask for; servers with one model ignore it.
        name: What to call it in `/healthz`; the model's name unless said.
        reason: Why it is this engine, in a sentence.
        headers: Request headers, such as ``Authorization``.
        timeout_s: Longest silence of the server, in seconds.

    Token counts are the server's own (``stream_options.include_usage``); a server that sends
    none gives a `Usage` without counts, nothing is estimated. A system message is always sent
    (`messages_of`). Closing the generator closes the connection, which frees the server's slot.
    """

    real = True

    def __init__(
        self,
        base_url: str,
        *,
        model: str = "default",
        name: str | None = None,
        reason: str = "",
        headers: Mapping[str, str] = _NONE,
        timeout_s: float = 300.0,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self.name, self.reason = name or model, reason
        self._model = model
        timeout = httpx.Timeout(timeout_s, connect=10.0)
        self._client = httpx.AsyncClient(
            base_url=self.base_url, headers=dict(headers), timeout=timeout, trust_env=False
        )

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextChunk | Usage]:
        """Stream one chat completion."""
        answer = _Answer()
        try:
            async with self._client.stream(
                "POST", "/v1/chat/completions", json=_body(self._model, request)
            ) as response:
                await _check(response)
                async for event in _events(response):
                    if text := answer.take(event):
                        yield TextChunk(text)
        except httpx.HTTPError as error:
            raise EngineError(f"the model's server does not answer: {error!r}") from error
        yield answer.usage()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class _Answer:
    """What was said so far besides the text."""

    def __init__(self) -> None:
        self._usage: Mapping[str, Any] = {}
        self._finish: FinishReason = "stop"

    def take(self, event: Mapping[str, Any]) -> str:
        if error := event.get("error"):
            raise EngineError(_message(error))
        self._usage = event.get("usage") or self._usage
        choices = event.get("choices") or [{}]
        if choices[0].get("finish_reason") == "length":
            self._finish = "length"
        return (choices[0].get("delta") or {}).get("content") or ""

    def usage(self) -> Usage:
        return Usage(
            input_tokens=self._usage.get("prompt_tokens"),
            output_tokens=self._usage.get("completion_tokens"),
            finish_reason=self._finish,
        )


def _body(model: str, request: GenerationRequest) -> dict[str, Any]:
    optional = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "seed": request.seed,
        "max_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
    }
    return {
        "model": model,
        "messages": messages_of(request.prompt, request.system_prompt),
        "stream": True,
        "stream_options": {"include_usage": True},
        **{key: value for key, value in optional.items() if value is not None},
    }


async def _check(response: httpx.Response) -> None:
    if response.status_code != httpx.codes.OK:
        body = (await response.aread())[:_MAX_LINE]
        raise EngineError(_refusal(response.status_code, body))


def _refusal(status: int, body: bytes) -> str:
    try:
        return _message(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the model's server answered {status}"


def _message(error: Any) -> str:
    return str(error.get("message") or error) if isinstance(error, dict) else str(error)


async def _events(response: httpx.Response) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the JSON of each ``data:`` line, until ``[DONE]``."""
    async for line in response.aiter_lines():
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        if line.startswith("data:") and len(data) < _MAX_LINE:
            yield _object(data)


def _object(data: str) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise EngineError("the model's server sent something that is not JSON") from error
    if not isinstance(value, dict):
        raise EngineError("the model's server sent something that is no event")
    return value
