"""A made-up library and its provider, for the wrapper's tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import wrapt

from llm_observe.tracing.call import Call
from llm_observe.tracing.providers.base import Kind, Target
from llm_observe.tracing.wrapping.patch import Patch


class Thing:
    """What an open returns: over when it says so."""

    def __init__(self, name: str = "t-1", over: bool = False) -> None:
        self.name, self.over = name, over

    def __str__(self) -> str:
        return self.name


class Toy:
    """A provider whose answers are texts; ``broken`` names the step in which it raises."""

    name = library = "toy"
    majors = (1,)
    targets: tuple[Target, ...] = ()

    def __init__(self, broken: str = "") -> None:
        self.broken = broken

    def _at(self, step: str) -> None:
        if step == self.broken:
            raise RuntimeError("our own fault")

    def request(self, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        self._at("begin")
        return Call(provider="toy", request_model="m", inner={})

    def part(self, call: Call, value: Any) -> None:
        self._at("part")
        call.response_id = str(value)
        call.inner["over"] = getattr(value, "over", True)

    def result(self, call: Call, value: Any) -> None:
        self._at("result")

    def opened(self, call: Call) -> None:
        self._at("opened")
        call.streaming = True

    def reader(self, call: Call) -> Callable[[Any], object]:
        def read(item: Any) -> None:
            self._at("reader")
            call.received.append((time.perf_counter_ns(), str(item)))

        return read

    def anchor(self, value: Any) -> Any:
        self._at("anchor")
        return value

    def keys(self, call: Call) -> tuple[Hashable, ...]:
        self._at("keys")
        return (call.response_id,)

    def over(self, call: Call) -> bool:
        self._at("over")
        return bool(call.inner.get("over"))

    def end(self, call: Call) -> None:
        self._at("end")


def wrapped(
    function: Any, kind: Kind = "call", provider: Toy | None = None, ends: bool = False
) -> Any:
    """A function of the library as `instrument` wraps it."""
    toy = provider or Toy()
    target = Target("toy", "ask", kind, toy.request, ends=ends)
    return wrapt.FunctionWrapper(function, Patch(toy, target))


class Counting:
    """An iterator that is no generator, with a surface of its own."""

    request_id = "r-1"

    def __init__(self, n: int) -> None:
        self.left = n

    def __iter__(self) -> Counting:
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left

    def parse(self) -> str:
        return f"{self.left} left"


class Closing(Counting):
    closed = False

    def close(self) -> str:
        self.closed = True
        return "closed"


class AsyncCounting:
    """The same, asynchronous."""

    request_id = "r-1"

    def __init__(self, n: int) -> None:
        self.left = n

    def __aiter__(self) -> AsyncCounting:
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left


class AsyncClosing(AsyncCounting):
    closed = False

    async def aclose(self) -> str:
        self.closed = True
        return "closed"
