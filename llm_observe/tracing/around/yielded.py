"""What a decorated generator yielded, kept within bounds while it runs."""

from __future__ import annotations

from typing import Any

from llm_observe.tracing.around.values import MAX_CHARACTERS, MAX_ITEMS, Bounds


class Yielded:
    """Texts are joined, as pieces of one answer; anything else is a list of items.

    Items are copied when they pass, so that they are neither kept alive nor seen changed.
    """

    def __init__(self) -> None:
        self._bounds = Bounds()
        self._texts: list[str] = []
        self._items: list[Any] = []
        self.count = self._characters = 0

    def add(self, value: Any) -> None:
        """One item went to the consumer."""
        self.count += 1
        if isinstance(value, str) and not self._items:
            self._add_text(value)
            return
        if self._texts:
            self._items, self._texts = list(self._texts[:MAX_ITEMS]), []
        if len(self._items) < MAX_ITEMS:
            self._items.append(self._bounds.copy(value))

    def all(self, returned: Any) -> Any:
        """Everything, or what the function returned where nothing was yielded."""
        if not self.count:
            return returned
        if not self._items:
            return "".join(self._texts)
        if self.count <= MAX_ITEMS:
            return self._items
        kept = self._items[: MAX_ITEMS - 1]  # the mark is an item too
        return [*kept, f"… {self.count - len(kept)} more"]

    def _add_text(self, text: str) -> None:
        room = MAX_CHARACTERS - self._characters
        if room > 0:
            self._texts.append(str(text[:room]))
        self._characters += len(text)
