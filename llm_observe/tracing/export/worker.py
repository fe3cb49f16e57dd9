"""One named destination: its queues and the one thread that empties them.

Life of a batch: taken in hand → rendered under what is in force → admitted → sent → settled.
*Admitted* is the point of no return: under the lock it is checked that nothing became tighter
and the destination did not move meanwhile, and the request becomes visible as `Exchange`.
Whoever tightens stores the new `Privacy` first and looks at the exchange afterwards, so either
the sender sees the new one or the other side sees the request.

No method but the thread's own touches the network, and none raises.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk.resources import Resource

from llm_observe.conventions import NEWEST, GenAI
from llm_observe.settings.model import Destination
from llm_observe.settings.places import place
from llm_observe.tracing.export import late
from llm_observe.tracing.export.bounds import Bounds
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.exchange import Exchange
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.headers import resolve
from llm_observe.tracing.export.line import Line
from llm_observe.tracing.export.quiet import quiet
from llm_observe.tracing.export.status import DestinationStatus, joined
from llm_observe.tracing.export.verdict import Answer, Verdict, explain
from llm_observe.tracing.gate import gate
from llm_observe.tracing.rendering.privacy import Exposure, Privacy

if TYPE_CHECKING:
    from llm_observe.tracing.export.backend import Backend

_BACKEND = "llm_observe.tracing.export.backend"


class Job(NamedTuple):
    """A batch in hand and where it goes."""

    line: Line
    batch: tuple[Any, ...]
    destination: Destination


class DestinationWorker:
    """Sends to one destination, which may move. Safe from any thread."""

    def __init__(
        self,
        name: str,
        destination: Destination,
        privacy: Callable[[], Privacy],
        resource: Callable[[], Resource],
        bounds: Bounds,
        environ: Mapping[str, str] = os.environ,
        genai: Callable[[], GenAI] = lambda: NEWEST,
    ) -> None:
        self.name = name
        self._genai = genai
        self._destination: Destination | None = destination
        self._endpoint, self._protocol = place(destination), destination.protocol
        self._privacy, self._resource, self._bounds, self._environ = (
            privacy,
            resource,
            bounds,
            environ,
        )
        self._changed = threading.Condition(threading.Lock())
        self._traces = Line("traces", bounds, random.random)
        self._metrics = Line("metrics", bounds, random.random)
        self._lines = (self._traces, self._metrics)
        self._open_lines(destination)
        self._shift = 0
        self._thread: threading.Thread | None = None
        self._exchange: Exchange | None = None
        self._hurry_until = 0.0

    # -- filling ---------------------------------------------------------------------------

    def offer(self, entry: Entry, size: int) -> None:
        """Queue a span; beyond the bound it is counted as dropped."""
        self._accept(self._traces, entry, size)

    def offer_metrics(self, payload: bytes) -> None:
        """Queue one encoded metric export."""
        self._accept(self._metrics, payload, len(payload))

    def start(self) -> None:
        """Start the thread ahead of the first item, so that it is ready when one comes."""
        with self._changed:
            self._ensure_thread()

    def _accept(self, line: Line, item: Any, size: int) -> None:
        with self._changed:
            if self._destination is not None and line.offer(item, size, time.monotonic()):
                self._ensure_thread()
                self._changed.notify_all()

    # -- steering --------------------------------------------------------------------------

    def move(self, destination: Destination) -> None:
        """Send to another place, or in another way, from the next request on.

        What is queued is kept, but for signals that no longer go there. Follow with `settled`.
        """
        with self._changed:
            self._destination = destination
            self._endpoint, self._protocol = place(destination), destination.protocol
            self._open_lines(destination)
            self._changed.notify_all()

    def retire(self) -> None:
        """Send nothing more, drop what is queued, end the thread. Follow with `settled`."""
        with self._changed:
            self._destination = None
            for line in self._lines:
                line.clear()
            self._changed.notify_all()

    def settled(self, grace_until: float, deadline: float) -> bool:
        """Wait until nothing looser or older than what is in force is in flight.

        Until ``grace_until`` such a request may end by itself, so that nothing is sent twice
        without need; then it is aborted. False: it could not be ended before ``deadline``
        (both on the monotonic clock).
        """
        with self._changed:
            while (exchange := self._stale()) is not None:
                now = time.monotonic()
                if now >= grace_until:
                    exchange.abort()
                    if exchange.harmless:
                        self._relieve()
                        return True
                if now >= deadline:
                    return False
                self._changed.wait((deadline if exchange.aborted else grace_until) - now)
        return True

    def watch(self, now: float) -> None:
        """End a request that is past its deadline; called every second or so."""
        with self._changed:
            if self._exchange is not None and now >= self._exchange.deadline:
                self._exchange.expire()

    def hurry(self, until: float) -> None:
        """Until then, send what is queued without waiting for company, and retry at once."""
        with self._changed:
            self._hurry_until = until
            for line in self._lines:
                line.backoff.hurry()
            if self._destination is not None:  # also for what is still on its way to the queue
                self._ensure_thread()
            self._changed.notify_all()

    def emptied(self, deadline: float) -> bool:
        """Wait until nothing is queued; True when all of it arrived or was counted."""
        with self._changed:
            while self._queued() and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._queued()

    def stop(self, deadline: float) -> None:
        """End at once; what is queued is counted as dropped. Never blocks beyond ``deadline``."""
        self.retire()
        self.settled(0.0, deadline)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))

    def status(self) -> DestinationStatus:
        """The present counts."""
        with self._changed:
            place = self._endpoint, self._protocol
            return joined(*place, self._traces.status(), self._metrics.status())

    # -- the thread ------------------------------------------------------------------------

    def _run(self, shift: int) -> None:
        try:
            with quiet():
                self._work(shift)
        except Exception as error:  # noqa: BLE001  # without its modules a worker cannot go on; the app can
            gate.report(error)
            with self._changed:
                if self._shift == shift:
                    self._thread = None
                    self._failed(f"an error of our own ({type(error).__name__})", *self._lines)

    def _work(self, shift: int) -> None:
        backend: Backend = late.load(_BACKEND).Backend(self._environ)
        try:
            while (job := self._next(shift)) is not None:
                self._attempt(job, backend, shift)
        finally:
            backend.close()

    def _next(self, shift: int) -> Job | None:
        """Wait for the next batch; None ends the thread."""
        with self._changed:
            while self._shift == shift and self._destination is not None:
                now = time.monotonic()
                due, line = self._most_urgent(now)
                if line is not None and due <= now:
                    return Job(line, line.take(now), self._destination)
                self._changed.wait(None if line is None else due - now)
        return None

    def _most_urgent(self, now: float) -> tuple[float, Line | None]:
        hurried = now < self._hurry_until
        dues = [(due, n) for n, x in enumerate(self._lines) if (due := x.due(hurried)) is not None]
        due, number = min(dues, default=(0.0, -1))
        return due, self._lines[number] if dues else None

    def _attempt(self, job: Job, backend: Backend, shift: int) -> None:
        try:
            self._pack_and_send(job, backend, shift)
        except Exception as error:  # noqa: BLE001  # a fault of ours must not end the thread, nor lose the batch
            gate.report(error)
            reason = f"an error of our own ({type(error).__name__})"
            self._settle(job, Answer(0, reason), 0, None, shift)

    def _pack_and_send(self, job: Job, backend: Backend, shift: int) -> None:
        privacy = self._privacy()
        exposure = privacy.exposure()
        try:
            body = backend.pack(
                job.line.signal, job.batch, privacy, self._resource(), self._genai()
            )
        except Exception as error:  # noqa: BLE001  # a span that cannot be encoded must not stop the others
            self._unpackable(job, error, shift)
            return
        if len(body) > self._bounds.request_bytes and len(job.batch) > 1:
            self._halve(job, shift)
            return
        self._send(job, body, exposure, backend, shift)

    def _send(
        self, job: Job, body: bytes, exposure: Exposure, backend: Backend, shift: int
    ) -> None:
        try:
            headers = resolve(job.destination, self._environ)
        except KeyFault as error:
            self._settle(job, Answer(0, str(error)), 0, None, shift)
            return
        exchange = self._admit(job, exposure, shift)
        if exchange is None:
            return
        answer = backend.post(job.line.signal, job.destination, body, headers, exchange)
        rejected = backend.rejected(job.line.signal, answer)
        self._settle(job, answer, rejected, exchange, shift)

    def _admit(self, job: Job, exposure: Exposure, shift: int) -> Exchange | None:
        """The point of no return. None: what was in force is not any more; try again."""
        exposed = None if job.line.signal == "metrics" else exposure
        deadline = time.monotonic() + job.destination.timeout_s
        exchange = Exchange(exposed, job.destination, deadline, lambda: self._loosened(exposed))
        with self._changed:
            if self._shift != shift:
                return None
            if self._outdated(exchange):
                job.line.give_back()
                return None
            self._exchange = exchange
            return exchange

    def _settle(
        self, job: Job, answer: Answer, rejected: int, exchange: Exchange | None, shift: int
    ) -> None:
        with self._changed:
            if self._shift != shift:
                return
            self._exchange = None
            if exchange is not None and exchange.aborted and not exchange.expired:
                job.line.give_back()
            else:
                self._conclude(job, answer, rejected, exchange)
            self._changed.notify_all()

    def _conclude(self, job: Job, answer: Answer, rejected: int, exchange: Exchange | None) -> None:
        if exchange is not None and exchange.expired and not answer.answered:
            answer = Answer(0, f"no answer within {job.destination.timeout_s:g} s")
        items = len(job.batch)
        verdict = job.line.settle(answer, items, rejected, time.monotonic())
        if verdict is Verdict.ACCEPTED:
            job.line.succeeded(time.time())
        if verdict is not Verdict.ACCEPTED and verdict is not Verdict.UNSUPPORTED:
            self._failed(explain(answer), job.line)
        elif rejected:
            self._failed(f"{rejected} of {items} refused (partial success)", job.line)

    # -- with the lock held ----------------------------------------------------------------

    def _open_lines(self, destination: Destination) -> None:
        for line in self._lines:
            line.resize(destination.queue_items, destination.queue_mib)
            line.renew(line.signal in destination.signals)

    def _outdated(self, exchange: Exchange) -> bool:
        moved = exchange.destination is not self._destination
        return moved or self._loosened(exchange.privacy)

    def _loosened(self, exposure: Exposure | None) -> bool:
        return exposure is not None and self._privacy().outdates(exposure)

    def _stale(self) -> Exchange | None:
        exchange = self._exchange
        return exchange if exchange is not None and self._outdated(exchange) else None

    def _relieve(self) -> None:
        """A thread is stuck before it could send (DNS, connecting): take its batch, leave it be."""
        self._shift += 1
        self._exchange = None
        self._thread = None
        for line in self._lines:
            line.give_back()
        if self._destination is not None:
            self._ensure_thread()

    def _ensure_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(
                target=self._run,
                args=(self._shift,),
                name=f"llm-observe-export-{self.name}",
                daemon=True,
            )
            try:
                thread.start()
            except (
                RuntimeError
            ) as error:  # the interpreter is ending, or the system is out of threads
                gate.report(error)
                return
            self._thread = thread

    def _queued(self) -> int:
        return sum(len(line.outbox) for line in self._lines)

    def _failed(self, reason: str, *lines: Line) -> None:
        for line in lines:
            line.erred(reason, time.time())

    # -- encoding faults -------------------------------------------------------------------

    def _halve(self, job: Job, shift: int) -> None:
        with self._changed:
            if self._shift == shift:
                job.line.split(len(job.batch))

    def _unpackable(self, job: Job, error: Exception, shift: int) -> None:
        gate.report(error)
        if len(job.batch) > 1:
            self._halve(job, shift)
            return
        with self._changed:
            if self._shift == shift:
                job.line.failed += job.line.outbox.discard()
                self._failed(f"a span could not be encoded ({type(error).__name__})", job.line)
                self._changed.notify_all()
