"""The event stream of a prediction, as Replicate sends it (server-sent events, WHATWG HTML §9.2)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from itertools import count

from llm_observe.testing.predictions import Prediction

_LINE_END = re.compile(r"\r\n|\r|\n")
_KEEP_ALIVE = ": keep-alive\n\n"
_REASONS = {"succeeded": None, "failed": "error", "canceled": "canceled"}


def event(name: str, data: str, event_id: str) -> str:
    """One server-sent event; each line of the data is a field of its own."""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"event: {name}\nid: {event_id}\n{lines}\n"


async def events(prediction: Prediction, keep_alive_s: float) -> AsyncGenerator[str]:
    """Yield the output from its beginning, what the model prints, ``error`` if any, then ``done``.

    After `keep_alive_s` seconds of silence comes a comment. The script may let it break or hang.

    Raises:
        ConnectionAbortedError: The script says that the stream breaks here.
    """
    ids = (f"{int(prediction.created)}:{number}" for number in count())
    chunks = 0
    await _misbehave(prediction, chunks)
    async for kind, text in _news(prediction, keep_alive_s):
        yield event(kind, text, next(ids)) if text else _KEEP_ALIVE
        if kind == "output" and text:
            chunks += 1
            await _misbehave(prediction, chunks)
    if prediction.status == "failed":
        yield event("error", json.dumps({"detail": prediction.error}), next(ids))
    reason = _REASONS[prediction.status]
    yield event("done", json.dumps({"reason": reason} if reason else {}), next(ids))


async def _misbehave(prediction: Prediction, chunks: int) -> None:
    """Do what the script says for this number of chunks."""
    if chunks == prediction.fault.hang_stream_after:
        await asyncio.get_running_loop().create_future()  # until the client leaves
    if chunks == prediction.fault.break_stream_after:
        raise ConnectionAbortedError("cut by the script")


async def _news(prediction: Prediction, keep_alive_s: float) -> AsyncIterator[tuple[str, str]]:
    """Yield each piece of logs and output as it comes, and an empty text for each silence."""
    printed = seen = 0
    while True:
        news = prediction.news
        if fresh := prediction.logs[printed:]:
            printed += len(fresh)
            yield "logs", fresh
        for text in prediction.output[seen:]:
            seen += 1
            yield "output", text
        if seen < len(prediction.output):
            continue
        if prediction.terminal:
            return
        try:
            async with asyncio.timeout(keep_alive_s):
                await news.wait()
        except TimeoutError:
            yield "output", ""
