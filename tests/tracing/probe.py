"""A block that tells what happened to it, and a watch over the context."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.context import Context, create_key, get_current, set_value

from llm_observe.tracing.around.blocks import Block, Stay
from llm_observe.tracing.around.decorating import decorated

KEY = create_key("probe")


class Probe(Block):
    """Tells what happened to it; inside it, `here()` is its name."""

    def __init__(self, name: str = "in") -> None:
        super().__init__()
        self.name = name
        self.log: list[Any] = []

    def __call__(self, function: Any) -> Any:
        return decorated(function, lambda args, kwargs: self.enter())

    def enter(self) -> Stay:
        self.log.append("enter")
        return _ProbeStay(set_value(KEY, self.name), self.log)


class _ProbeStay(Stay):
    def __init__(self, context: Context, log: list[Any]) -> None:
        super().__init__(context)
        self.log = log

    def item(self, value: Any) -> None:
        self.log.append(("item", value))

    def returned(self, value: Any) -> None:
        self.log.append(("returned", value))

    def leave(self, error: BaseException | None) -> None:
        self.log.append(("left", type(error).__name__ if error else None, here()))


def here() -> Any:
    return get_current().get(KEY)


@pytest.fixture(autouse=True)
def no_failed_detach(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    before = get_current()
    with caplog.at_level(logging.WARNING):
        yield
        gc.collect()
    assert [record.getMessage() for record in caplog.records] == []
    assert get_current() is before
