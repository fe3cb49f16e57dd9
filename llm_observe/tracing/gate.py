"""The one gate between our code and the app: our own faults never get out.

``with gate:`` around anything of ours that runs on the app's threads. A fault is counted, its
place is kept, listeners are told, and the app goes on without telemetry for that step. Tests set
``gate.reraise`` so that nothing is swallowed there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import TracebackType

_CAP = 16


class Gate:
    """Counts and hides `Exception`; lets `KeyboardInterrupt` and its like pass.

    Safe from any thread and after a fork: it holds no lock.
    """

    def __init__(self) -> None:
        self.reraise = False
        """Let faults out; for tests."""
        self.last = ""
        """The newest fault: type and place. Never its message, which may hold content."""
        self.listeners: list[Callable[[str], None]] = []
        """Called with ``last`` after each fault, on the thread that had it; must not block."""
        self._numbers = itertools.count(1)
        self._total = self._base = 0

    @property
    def count(self) -> int:
        """Faults so far; may be set back."""
        return self._total - self._base

    @count.setter
    def count(self, value: int) -> None:
        self._base = self._total - value

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        self.report(error)
        return not self.reraise

    def caught(self, error: Exception) -> None:
        """As ``with gate``, for a path on which entering a block would be felt."""
        self.report(error)
        if self.reraise:
            raise error

    def report(self, error: Exception) -> None:
        """Count a fault that was caught elsewhere."""
        self._total = next(self._numbers)
        self.last = f"{type(error).__name__} at {_place(error.__traceback__)}"
        for listener in self.listeners[:_CAP]:
            try:
                listener(self.last)
            except Exception:  # noqa: BLE001, S112  # a listener's fault must not hide the first one
                continue


def _place(traceback: TracebackType | None) -> str:
    if traceback is None:
        return "an unknown place"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} ({code.co_name})"


gate = Gate()
"""The process's gate."""
