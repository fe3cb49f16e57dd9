"""One signal of one destination: its outbox, its waits, its counts. Pure; the worker locks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llm_observe.tracing.export.backoff import Backoff
from llm_observe.tracing.export.bounds import Bounds
from llm_observe.tracing.export.outbox import Outbox
from llm_observe.tracing.export.status import SignalStatus
from llm_observe.tracing.export.target import Signal
from llm_observe.tracing.export.verdict import Answer, Verdict, explain, judge

MIB = 1024 * 1024
_METRICS_BYTES = 4 * MIB
_METRICS_TOGETHER = 32


class Line:
    """Items of one signal on their way to one destination."""

    def __init__(self, signal: Signal, bounds: Bounds, chance: Callable[[], float]) -> None:
        traces = signal == "traces"
        self.signal: Signal = signal
        self.outbox: Outbox[Any] = (
            Outbox(bounds.queue_items, bounds.queue_bytes)
            if traces
            else Outbox(bounds.metrics_payloads, _METRICS_BYTES)
        )
        self.backoff = Backoff(
            bounds.retry_first_s, bounds.retry_most_s, bounds.retry_after_most_s, chance
        )
        self._bounds = bounds
        self._most_items = bounds.batch_items if traces else _METRICS_TOGETHER
        self._most_bytes = bounds.batch_bytes
        self._delay_s = bounds.delay_s if traces else 0.0
        self._batch_items = self._most_items
        self._since = 0.0
        self.open, self.off = True, ""
        self.sent = self.failed = self.dropped = 0
        self._last_error, self._last_error_at, self._last_success = "", 0.0, 0.0

    def resize(self, items: int | None, mebibytes: float | None) -> None:
        """Other bounds for the spans that wait; None: those of the process.

        A batch is at most a quarter of what may wait, as in `bounds.read_bounds`.
        """
        if self.signal != "traces":
            return
        most = items or self._bounds.queue_items
        size = self._bounds.queue_bytes if mebibytes is None else int(mebibytes * MIB)
        self.outbox.resize(most, size)
        self._most_items = min(self._bounds.batch_items, max(1, most // 4))
        self._most_bytes = min(self._bounds.batch_bytes, max(1, size // 4))
        self._batch_items = min(self._batch_items, self._most_items)

    def offer(self, item: Any, size: int, now: float) -> bool:
        """Queue an item or count it as dropped; True if the worker should look."""
        if not self.open or self.off:
            return False
        if not self.outbox.offer(item, size):
            self.dropped += 1
            return False
        if self.outbox.waiting == 1:
            self._since = now
        return self.outbox.waiting in (1, self._batch_items)

    def due(self, hurried: bool) -> float | None:
        """The moment from which a batch should leave; None with nothing to send."""
        if not self.outbox.waiting:
            return None
        full = self.outbox.waiting >= self._batch_items or self.outbox.bytes >= self._most_bytes
        wait_until = 0.0 if hurried or full else self._since + self._delay_s
        return max(wait_until, self.backoff.retry_at)

    def take(self, now: float) -> tuple[Any, ...]:
        """The next batch, in hand until `settle`, `give_back` or `clear`."""
        batch = self.outbox.take(self._batch_items, self._most_bytes)
        self._since = now
        return batch

    def give_back(self) -> None:
        """The batch in hand was not tried, or nobody is to blame for its end."""
        self.outbox.put_back()
        self._since = 0.0

    def clear(self) -> None:
        """Nothing of this goes there any more; what waited is counted as dropped."""
        self.dropped += self.outbox.clear()

    def renew(self, open_: bool) -> None:
        """The destination is another one: forget what was learnt of the old one."""
        self.backoff.reset()
        self._batch_items, self.off, self.open = self._most_items, "", open_
        if not open_:
            self.clear()

    def settle(self, answer: Answer, items: int, rejected: int, now: float) -> Verdict:
        """Do with the batch in hand what the answer means."""
        verdict = judge(answer, self.signal, items)
        if verdict is Verdict.ACCEPTED:
            self._accepted(rejected)
        elif verdict is Verdict.DROP:
            self.failed += self.outbox.discard()
        elif verdict is Verdict.UNSUPPORTED:
            self.off = explain(answer)
            self.failed += self.outbox.clear()
        else:
            self._keep(verdict, answer, items, now)
        return verdict

    def succeeded(self, unix_s: float) -> None:
        """A request was accepted."""
        self._last_success = unix_s

    def erred(self, reason: str, unix_s: float) -> None:
        """A request failed, or a part of it; ``reason`` is for people."""
        self._last_error, self._last_error_at = reason, unix_s

    def status(self) -> SignalStatus:
        """The present counts."""
        return SignalStatus(
            state=self.off or ("on" if self.open else "off"),
            sent=self.sent,
            failed=self.failed,
            queued=len(self.outbox),
            dropped=self.dropped,
            last_error=self._last_error,
            last_error_at=self._last_error_at,
            last_success=self._last_success,
        )

    def split(self, items: int) -> None:
        """Keep the batch in hand, send half as much at once."""
        self._batch_items = max(1, items // 2)
        self.give_back()

    def _accepted(self, rejected: int) -> None:
        gone = self.outbox.acknowledge()
        refused = min(max(rejected, 0), gone) if self.signal == "traces" else 0
        self.sent += gone - refused
        self.failed += refused
        self.backoff.reset()
        self._batch_items = min(self._batch_items * 2, self._most_items)

    def _keep(self, verdict: Verdict, answer: Answer, items: int, now: float) -> None:
        if verdict is Verdict.SPLIT:
            self.split(items)
            return
        self.backoff.failed(now, answer.retry_after_s)
        behind = verdict is Verdict.ROTATE and self.backoff.failures % 3 == 0
        self.outbox.put_back(behind=behind)
        self._since = 0.0
