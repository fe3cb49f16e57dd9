"""Between the application's threads and the destinations' queues: one thread, one queue.

The application's side is one append to a lock-free queue, so that it may happen anywhere, a
finalizer included. The thread settles a call (what was put off), completes it (tokens that only
the server knows), records its metrics, hands it to the destinations, exports metrics from time to
time, and ends requests that are past their deadline. It never touches the network itself.

A thread that wakes up for every call costs the application more than what it does when awake. So
it lets a few calls come together before it takes them all.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from opentelemetry.trace import Span

from llm_observe.settings.model import KeepRules
from llm_observe.tracing.call import Call
from llm_observe.tracing.export.bounds import Bounds
from llm_observe.tracing.export.completions import Completions, Ticket
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.quiet import quiet
from llm_observe.tracing.export.tail import Tail
from llm_observe.tracing.export.turns import in_turns
from llm_observe.tracing.gate import gate
from llm_observe.tracing.sampling.held import HeldTraces
from llm_observe.tracing.wrapping import inflight

_TICK_S = 1.0
_GATHER_S = 0.05
"""How long calls come together after the first."""


class Meter(Protocol):
    """Where calls become numbers; made and used on the intake's thread only."""

    def record(self, call: Call, span: Span | None) -> None:
        """Count one ended call."""

    def collect(self) -> bytes:
        """An encoded export of what was counted since the last time; empty if nothing was."""


class Sink(Protocol):
    """Where it all goes: the destinations, or what ends spans on a provider that is not ours."""

    def start(self) -> None:
        """Be ready for the first span."""

    def offer(self, entry: Entry) -> None:
        """Take a span."""

    def offer_metrics(self, payload: bytes) -> None:
        """Take an encoded metric export."""

    def watch(self, now: float) -> None:
        """End requests that are past their deadline; every second or so."""


class Marker:
    """Travels through the queue: when it is done, all that was put before it is handed on."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.awaited: frozenset[Ticket] = frozenset()


class Intake:
    """Takes ended spans. ``start`` from normal code, ``put`` from anywhere."""

    def __init__(
        self,
        sink: Sink,
        make_meter: Callable[[], Meter],
        bounds: Bounds,
        tail: Tail | None = None,
    ) -> None:
        self._sink, self._make_meter, self._bounds = sink, make_meter, bounds
        self._tail = tail or Tail(HeldTraces(), KeepRules, sink.offer)
        self._judging = False
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._completions = Completions(self._queue.put, bounds)
        self._gather_s = min(_GATHER_S, bounds.delay_s)
        self._hurried = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._meter: Meter | None = None
        self._metrics_due = time.monotonic() + bounds.metrics_period_s
        self._watch_due = 0.0
        self._markers: list[Marker] = []
        self._stopped = False
        self._drops = itertools.count(1)
        self.calls = self.sampled_out = self.dropped = 0

    def start(self) -> None:
        """Start the thread if it does not run."""
        if self._thread is None and not self._stopped:
            with self._starting:
                self._start()

    def put(self, item: Entry | Call) -> None:
        """Take an ended span, or a call whose span is not exported. Never blocks."""
        if self._stopped or self._queue.qsize() >= self._bounds.queue_items:
            self.dropped = next(self._drops)
            return
        self._queue.put(item)

    def flush(self, deadline: float) -> bool:
        """Hand on all that was put so far, and the metrics of it; False when time ran out."""
        if self._stopped or (self._thread is None and not self._queue.qsize()):
            return True
        marker = Marker()
        self.start()
        self._queue.put(marker)
        self._hurried.set()
        return marker.done.wait(max(0.0, deadline - time.monotonic()))

    def hasten(self, latest: float) -> None:
        """From then on (monotonic clock) no call waits for numbers that only its server knows."""
        self._completions.hasten(latest)

    def judge_held(self) -> None:
        """From now on a flush leaves nothing held: what is there of a trace is judged."""
        self._judging = True

    def stop(self, deadline: float) -> None:
        """Take nothing more and end the thread."""
        self._stopped = True
        self._queue.put(None)
        self._hurried.set()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                if isinstance(self._queue.get_nowait(), Entry | Call):
                    self.dropped = next(self._drops)

    def _start(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="llm-observe-intake", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter is ending, or the system is out of threads
            gate.report(error)
            return
        self._thread = thread

    def _run(self) -> None:
        with quiet():
            self._sink.start()
            self._step(self._prepare)
            while not self._stopped:
                self._step(self._once)

    def _step(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001  # one bad call must not end the thread for all others
            gate.report(error)

    def _prepare(self) -> None:
        self._meter = self._make_meter()

    def _once(self) -> None:
        for item in in_turns(self._arrived()):
            self._step(partial(self._take, item))
        now = time.monotonic()
        for ticket in self._completions.due(now):
            self._step(partial(self._pass_on, ticket.item))
        if self._markers:
            self._finish_markers()
        if now >= self._metrics_due:
            self._metrics_due = now + self._bounds.metrics_period_s
            self._export_metrics()
        if now >= self._watch_due:
            self._watch_due = now + _TICK_S
            self._sink.watch(now)
            self._step(partial(self._tail.sweep, now))
            inflight.sweep()

    def _arrived(self) -> list[Any]:
        """Wait for an item or until something else is due; then all that came together."""
        wake = min(self._metrics_due, self._completions.next_deadline())
        wait = min(max(0.0, wake - time.monotonic()), _TICK_S)
        try:
            items = [self._queue.get(timeout=wait)]
        except Empty:
            return []
        self._hurried.wait(self._gather_s)
        self._hurried.clear()
        with contextlib.suppress(Empty):
            for _ in range(self._queue.qsize()):
                items.append(self._queue.get_nowait())
        return [item for item in items if item is not None]

    def _take(self, item: Any) -> None:
        if isinstance(item, Marker):
            item.awaited = self._completions.pending
            self._markers.append(item)
        elif isinstance(item, Ticket):
            if self._completions.resolve(item):
                self._pass_on(item.item)
        else:
            self._count(item)

    def _count(self, item: Entry | Call) -> None:
        call = item if isinstance(item, Call) else item.call
        if call is not None:
            call.settle()
        self.calls += call is not None
        self.sampled_out += isinstance(item, Call)
        if call is None or call.completion is None or not self._completions.take(item, call):
            self._pass_on(item)

    def _pass_on(self, item: Entry | Call) -> None:
        call, span = (item, None) if isinstance(item, Call) else (item.call, item.span)
        try:
            if call is not None and self._meter is not None:
                self._meter.record(call, span)  # type: ignore[arg-type]  # an SDK span is both kinds
        finally:
            if isinstance(item, Entry):
                self._offer(item)

    def _offer(self, entry: Entry) -> None:
        if entry.held is None:
            self._sink.offer(entry)
        else:
            self._tail.offer(entry, time.monotonic())

    def _finish_markers(self) -> None:
        """A marker is done when no call before it waits for its completion any more."""
        pending = self._completions.pending
        done = [marker for marker in self._markers if not marker.awaited & pending]
        self._markers = [marker for marker in self._markers if marker not in done]
        if done:
            self._step(self._export_metrics)
        if done and self._judging:
            self._step(partial(self._tail.close, time.monotonic()))
        for marker in done:
            marker.done.set()

    def _export_metrics(self) -> None:
        payload = self._meter.collect() if self._meter is not None else b""
        if payload:
            self._sink.offer_metrics(payload)
