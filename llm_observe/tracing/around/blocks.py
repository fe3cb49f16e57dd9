"""Blocks to be inside of: what OpenTelemetry context is current there, and what happens at the end.

`llm_observe.tracing.around.decorating` puts them around the calls of a function.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from opentelemetry.context import Context

from llm_observe.tracing.contexts import current, enter, leave


class Stay:
    """One stay inside a block. The hooks do nothing here; none of them may raise."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.token: Any = None

    def item(self, value: Any) -> None:
        """The decorated generator yielded this."""

    def returned(self, value: Any) -> None:
        """The decorated function returned this."""

    def leave(self, error: BaseException | None) -> None:
        """The end, in the context of outside."""


class Block:
    """Something to be inside of: with ``with``, ``async with``, or around calls of a function.

    One object may be entered again, also from several threads or tasks at once.
    """

    def __init__(self) -> None:
        self._stays: list[Stay] = []

    def enter(self) -> Stay:
        """A new stay; must not raise."""
        return Stay(current())

    def __enter__(self) -> Self:
        stay = self.enter()
        stay.token = enter(stay.context)
        self._stays.append(stay)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stay = self.here()
        if stay is not None:
            self._stays.remove(stay)
            leave(stay.token)
            stay.leave(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def here(self) -> Stay | None:
        """The stay whose context is current, else the newest one that has not ended."""
        context, stays = current(), tuple(self._stays)
        found = (stay for stay in reversed(stays) if stay.context is context)
        return next(found, stays[-1] if stays else None)
