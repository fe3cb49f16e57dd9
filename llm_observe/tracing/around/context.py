"""What the app says about its calls: session, user, tags, metadata.

The keys are those that OpenInference's ``using_attributes`` puts in the OpenTelemetry context, so
that its instrumentors read ours and we read theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from openinference.semconv.trace import SpanAttributes as OI
from opentelemetry.context import Context, get_current, set_value

from llm_observe.tracing.around.blocks import Block, Stay
from llm_observe.tracing.around.decorating import Function, decorated
from llm_observe.tracing.around.values import Bounds
from llm_observe.tracing.gate import gate

MAX_TEXT = 512
"""Characters of a session, a user or one tag; what is beyond is cut."""
MAX_TAGS = 64
MAX_METADATA = 16 * 1024
"""Characters of all metadata texts of one block."""


class context(Block):
    """Say who and what the calls inside belong to: ``with context(session="s-1", user="ann")``.

    A context manager (``with`` and ``async with``) and a decorator of any function, generators
    included. An inner block overrides ``session`` and ``user``, and adds to ``tags`` and
    ``metadata``. What is empty or None has no opinion. It reaches neither other threads nor other
    processes; a new asyncio task inherits it.
    """

    def __init__(
        self,
        session: str | None = None,
        user: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._texts: dict[str, str] = {}
        self._tags: list[str] = []
        self._metadata: dict[str, Any] = {}
        with gate:
            self._texts = {OI.SESSION_ID: _text(session), OI.USER_ID: _text(user)}
        with gate:
            given = [tags] if isinstance(tags, str) else tags or ()
            self._tags = [_text(tag) for _, tag in zip(range(MAX_TAGS), given, strict=False)]
        with gate:
            copied = Bounds(MAX_METADATA).copy(metadata or {})
            self._metadata = copied if isinstance(copied, dict) else {}

    def __call__(self, function: Function) -> Function:
        """The block around every call of a function."""
        return decorated(function, lambda args, kwargs: self.enter())

    def enter(self) -> Stay:
        """The present context with what this block says."""
        here = get_current()
        with gate:
            return Stay(self._over(here))
        return Stay(here)

    def _over(self, outer: Context) -> Context:
        values = {
            **self._texts,
            OI.TAG_TAGS: self._all_tags(outer.get(OI.TAG_TAGS)),
            OI.METADATA: self._merged(outer.get(OI.METADATA)),
        }
        for key, value in values.items():
            outer = set_value(key, value, outer) if value else outer
        return outer

    def _all_tags(self, outer: object) -> list[str]:
        above = outer if isinstance(outer, list | tuple) else ()
        return list(dict.fromkeys(map(str, (*above, *self._tags))))

    def _merged(self, outer: object) -> str:
        if not self._metadata:
            return ""
        try:
            below = json.loads(outer) if isinstance(outer, str) else {}
        except ValueError:
            below = {}
        below = below if isinstance(below, dict) else {}
        return json.dumps(below | self._metadata, ensure_ascii=False)


def _text(value: object) -> str:
    return "" if value is None else str(value)[:MAX_TEXT]
