"""Steps and scores in an HTTP app: decorated handlers, a streamed body, a thumb by a later request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.responses import StreamingResponse

import llm_observe
from llm_observe.testing import capture_spans

pytestmark = pytest.mark.anyio


class Question(BaseModel):
    text: str


class Thumb(BaseModel):
    reference: str
    up: bool


app = FastAPI()


@app.post("/ask")
@llm_observe.trace
async def ask(question: Question) -> dict[str, str]:
    return {"text": "yes", "reference": llm_observe.current_step().reference}


@llm_observe.trace
async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield f"{word} "


@app.get("/stream")
async def stream(text: str) -> StreamingResponse:
    return StreamingResponse(words(text))


@app.post("/thumb")
def thumb(given: Thumb) -> bool:
    return llm_observe.score("helpful", given.up, target=given.reference)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as opened:
        yield opened


async def test_a_reference_goes_over_http_and_comes_back_as_a_score(
    client: httpx.AsyncClient,
) -> None:
    with capture_spans() as captured:
        answer = (await client.post("/ask", json={"text": "Do llamas hum?"})).json()
        said = {"reference": answer["reference"], "up": True}
        assert (await client.post("/thumb", json=said)).json() is True
        turn, score = captured.spans
    assert (turn.attributes or {})["input.value"] == '{"question": {"text": "Do llamas hum?"}}'
    assert turn.context is not None
    assert score.links[0].context.span_id == turn.context.span_id


async def test_what_is_no_reference_is_refused_without_an_error(client: httpx.AsyncClient) -> None:
    with capture_spans() as captured:
        answer = await client.post("/thumb", json={"reference": "made up", "up": True})
        assert (answer.status_code, answer.json()) == (200, False)
        assert captured.spans == ()


async def test_a_streamed_body_is_one_span_with_all_of_it(client: httpx.AsyncClient) -> None:
    with capture_spans() as captured:
        answer = await client.get("/stream", params={"text": "one two three"})
        assert answer.text == "one two three "
        (span,) = captured.spans
    assert (span.attributes or {})["output.value"] == "one two three "
