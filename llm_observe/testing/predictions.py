"""Predictions of the fake Replicate: what one is, how it runs, and the bounded set of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from llm_observe.testing.catalogue import generation_request
from llm_observe.testing.engines import Engine, EngineError, TextChunk, Usage
from llm_observe.testing.faults import NO_FAULT, Fault

Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]
TERMINAL: frozenset[Status] = frozenset({"succeeded", "failed", "canceled"})


@dataclass(slots=True, kw_only=True, eq=False)
class Prediction:
    """One prediction; times are Unix seconds. Read and changed on the server's loop only."""

    id: str
    model: str
    version: str
    input: dict[str, Any]
    created: float
    deployment: str | None = None
    hidden: bool = False
    """An official model shows no version."""
    cancel_after_s: float | None = None
    """Seconds from its creation after which it is cancelled."""
    fault: Fault = NO_FAULT
    status: Status = "starting"
    output: list[str] = field(default_factory=list)
    error: str | None = None
    logs: str = ""
    started: float | None = None
    first_chunk: float | None = None
    completed: float | None = None
    usage: Usage | None = None
    task: asyncio.Task[None] | None = None
    readers: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def terminal(self) -> bool:
        """True when nothing more will happen."""
        return self.status in TERMINAL

    def announce(self) -> None:
        """Wake everybody who waits on `news`: take the event first, then look at the output."""
        news, self.news = self.news, asyncio.Event()
        news.set()

    async def finished(self) -> None:
        """Wait until it is terminal."""
        while not self.terminal:
            await self.news.wait()

    def metrics(self) -> dict[str, float | int]:
        """The numbers of a terminal prediction, as official language models give them."""
        if self.completed is None:
            return {}
        predict_s = self.completed - (self.started or self.completed)
        values = {
            "predict_time": predict_s,
            "total_time": self.completed - self.created,
            "time_to_first_token": _difference(self.first_chunk, self.started),
            **_token_metrics(self.usage, predict_s),
        }
        return {key: round(value, 9) for key, value in values.items() if value is not None}

    def finish(self, status: Status, now: float, error: str | None = None) -> None:
        """Make it terminal, once."""
        if not self.terminal:
            self.status, self.completed, self.error = status, now, error
            self.announce()

    def json(self, base_url: str) -> dict[str, Any]:
        """As the API shows it."""
        url = f"{base_url}/v1/predictions/{self.id}"
        stream = f"{base_url}/v1/streams/{self.id}"
        web = f"https://replicate.com/p/{self.id}"
        urls = {"get": url, "cancel": f"{url}/cancel", "stream": stream, "web": web}
        return {
            "id": self.id,
            "model": self.model,
            "version": "hidden" if self.hidden else self.version,
            "deployment": self.deployment,
            "input": self.input,
            "status": self.status,
            "output": list(self.output) if self.output or self.status == "succeeded" else None,
            "error": self.error,
            "logs": self.logs,
            "metrics": self.metrics(),
            "created_at": _iso(self.created),
            "started_at": _iso(self.started),
            "completed_at": _iso(self.completed),
            "deadline": _iso(self.created + self.cancel_after_s) if self.cancel_after_s else None,
            "data_removed": False,
            "source": "api",
            "urls": urls,
        }


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier


def _token_metrics(usage: Usage | None, predict_s: float) -> dict[str, float | int | None]:
    if usage is None:
        return {}
    made = usage.output_tokens
    return {
        "input_token_count": usage.input_tokens,
        "output_token_count": made,
        "tokens_per_second": made / predict_s if made is not None and predict_s > 0 else None,
    }


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


class Runner:
    """Runs predictions on an engine, each in a task of its own."""

    def __init__(
        self,
        engine: Engine,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._engine, self._now, self._sleep = engine, now, sleep
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """How many run at this moment."""
        return len(self._tasks)

    def start(self, prediction: Prediction) -> None:
        """Begin; the prediction announces what happens."""
        task = asyncio.create_task(self._run(prediction))
        prediction.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self, prediction: Prediction) -> None:
        """End it as ``canceled`` and stop the engine's work; a terminal one stays as it is."""
        prediction.finish("canceled", self._now())
        if prediction.task is not None:
            prediction.task.cancel()

    async def aclose(self) -> None:
        """Stop everything that runs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, prediction: Prediction) -> None:
        try:
            async with asyncio.timeout(prediction.cancel_after_s):
                await self._work(prediction)
        except TimeoutError:
            prediction.finish("canceled", self._now())

    async def _work(self, prediction: Prediction) -> None:
        try:
            await self._sleep(prediction.fault.queue_s)
            prediction.status, prediction.started = "processing", self._now()
            prediction.logs += prediction.fault.logs
            prediction.announce()
            await self._generate(prediction)
            prediction.finish("succeeded", self._now())
        except EngineError as error:
            prediction.finish("failed", self._now(), str(error))
        except asyncio.CancelledError:
            prediction.finish("canceled", self._now())
            raise
        except Exception as error:  # noqa: BLE001  # whatever an engine does, the caller gets an end
            prediction.finish("failed", self._now(), f"the engine failed: {error!r}")

    async def _generate(self, prediction: Prediction) -> None:
        await self._stumble(prediction)
        request = generation_request(prediction.input)
        async with aclosing(self._engine.generate(request)) as answer:
            async for item in answer:
                if isinstance(item, Usage):
                    prediction.usage = item
                    continue
                await self._sleep(prediction.fault.chunk_s)
                await self._take(prediction, item)

    async def _take(self, prediction: Prediction, chunk: TextChunk) -> None:
        prediction.output.append(chunk.text)
        prediction.first_chunk = prediction.first_chunk or self._now()
        prediction.announce()
        await self._stumble(prediction)

    async def _stumble(self, prediction: Prediction) -> None:
        """Do what the script says for this number of chunks."""
        fault, seen = prediction.fault, len(prediction.output)
        if fault.fail_after == seen:
            raise EngineError(fault.error)
        if fault.cancel_after == seen:
            raise asyncio.CancelledError
        if fault.hang_after == seen:
            await asyncio.get_running_loop().create_future()  # until it is cancelled


class Predictions:
    """All predictions by id, bounded: beyond the bound the oldest that has ended is forgotten."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_id: dict[str, Prediction] = {}

    def __iter__(self) -> Iterator[Prediction]:
        """Newest first."""
        return iter(list(self._by_id.values())[::-1])

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, prediction_id: str) -> Prediction | None:
        """The prediction of that id, if it is still remembered."""
        return self._by_id.get(prediction_id)

    def add(self, prediction: Prediction) -> None:
        """Remember one more."""
        self._by_id[prediction.id] = prediction
        ended = [each.id for each in self._by_id.values() if each.terminal]
        surplus = max(0, len(self._by_id) - self._limit)
        for prediction_id in ended[:surplus]:
            del self._by_id[prediction_id]
