from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from llm_observe.testing import (
    EngineError,
    GenerationRequest,
    OpenAIEngine,
    TextChunk,
    Usage,
)
from tests.testing.conftest import Switchboard

pytestmark = pytest.mark.anyio

DELTAS = [{"choices": [{"delta": {"content": text}}]} for text in ("Wa", "ter", "")]
LAST = {"choices": [{"delta": {}, "finish_reason": "length"}]}
COUNTS = {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 2}}


class Peer:
    """An OpenAI-compatible server that sends what it is told to."""

    def __init__(self, *lines: Any, refuse: Response | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._lines, self._refuse = lines, refuse
        self.app = Starlette(routes=[Route("/v1/chat/completions", self.chat, methods=["POST"])])

    async def chat(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        return self._refuse or StreamingResponse(self._body(), media_type="text/event-stream")

    async def _body(self) -> AsyncIterator[str]:
        for line in self._lines:
            yield line if isinstance(line, str) else f"data: {json.dumps(line)}\n\n"


async def ask(
    board: Switchboard, peer: Peer, *, path: str = "", **asked: Any
) -> tuple[str, Usage | None]:
    board.app = peer.app
    engine = OpenAIEngine(board.url + path, headers={"Authorization": "Bearer k"})
    text, usage = "", None
    try:
        async for item in engine.generate(GenerationRequest(**{"prompt": "Hi", **asked})):
            if isinstance(item, TextChunk):
                text += item.text
            else:
                usage = item
    finally:
        await engine.aclose()
    return text, usage


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_text_streams_and_counts_are_the_servers_own(
    switchboard: Switchboard, path: str
) -> None:
    peer = Peer(*DELTAS, LAST, COUNTS, "data: [DONE]\n\n")
    text, usage = await ask(switchboard, peer, path=path)
    assert text == "Water"
    assert usage == Usage(input_tokens=11, output_tokens=2, finish_reason="length")


async def test_a_server_without_counts_gives_none_rather_than_a_guess(
    switchboard: Switchboard,
) -> None:
    _, usage = await ask(switchboard, Peer(*DELTAS, ": comment\n\n", "data: [DONE]\n\n"))
    assert usage == Usage(input_tokens=None, output_tokens=None)


async def test_parameters_and_a_system_message_are_sent(switchboard: Switchboard) -> None:
    peer = Peer("data: [DONE]\n\n")
    await ask(switchboard, peer, temperature=0.0, top_p=0.5, seed=1, max_tokens=9, stop=("x",))
    await ask(switchboard, peer)
    full, bare = peer.asked
    assert [message["role"] for message in full["messages"]] == ["system", "user"]
    assert full["stream_options"] == {"include_usage": True}
    assert (full["temperature"], full["top_p"], full["seed"]) == (0.0, 0.5, 1)
    assert (full["max_tokens"], full["stop"]) == (9, ["x"])
    assert not {"temperature", "top_k", "seed", "stop", "max_tokens"} & set(bare)
    assert peer.headers[0]["authorization"] == "Bearer k"


@pytest.mark.parametrize(
    ("peer", "sentence"),
    [
        (Peer(refuse=JSONResponse({"error": {"message": "too long"}}, 400)), "too long"),
        (Peer(refuse=Response(b"<html>", 502)), "answered 502"),
        (Peer(DELTAS[0], {"error": {"message": "lost it"}}), "lost it"),
        (Peer("data: {broken\n\n"), "not JSON"),
        (Peer("data: [1]\n\n"), "no event"),
    ],
)
async def test_trouble_of_the_server_becomes_a_sentence(
    switchboard: Switchboard, peer: Peer, sentence: str
) -> None:
    with pytest.raises(EngineError, match=sentence):
        await ask(switchboard, peer)


async def test_an_absent_server_becomes_a_sentence() -> None:
    engine = OpenAIEngine("http://127.0.0.1:9")
    with pytest.raises(EngineError, match="does not answer"):
        await anext(engine.generate(GenerationRequest(prompt="Hi")))
    await engine.aclose()
