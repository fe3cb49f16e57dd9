"""All named destinations together: every span goes to each of them, and none waits for another."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from opentelemetry.sdk.resources import Resource

from llm_observe.conventions import NEWEST, GenAI
from llm_observe.settings.model import Destination
from llm_observe.tracing.export.bounds import Bounds
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.status import DestinationStatus
from llm_observe.tracing.export.worker import DestinationWorker
from llm_observe.tracing.rendering.privacy import Privacy


class Delivery:
    """The workers by name. Changed by one thread at a time, used by any.

    A destination that moves keeps its name, its worker and its queue, so nothing that waited
    is lost. A destination that is removed drops its queue, counted: its operator said that
    nothing shall go there any more.
    """

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        privacy: Callable[[], Privacy],
        resource: Callable[[], Resource],
        bounds: Bounds,
        environ: Mapping[str, str] = os.environ,
        genai: Callable[[], GenAI] = lambda: NEWEST,
    ) -> None:
        self._genai = genai
        self._privacy, self._resource, self._bounds, self._environ = (
            privacy,
            resource,
            bounds,
            environ,
        )
        self._destinations = dict(destinations)
        self._workers = {name: self._worker(name, item) for name, item in destinations.items()}
        self._leaving: list[DestinationWorker] = []
        self._dropped_before = 0

    def start(self) -> None:
        """Start the workers ahead of the first span."""
        for worker in self._workers.values():
            worker.start()

    def offer(self, entry: Entry) -> None:
        """Queue a span for every destination."""
        workers, size = self._workers, 0
        for worker in workers.values():
            size = size or entry.size
            worker.offer(entry, size)

    def offer_metrics(self, payload: bytes) -> None:
        """Queue an encoded metric export for every destination that takes metrics."""
        for worker in self._workers.values():
            worker.offer_metrics(payload)

    def send_metrics(self, name: str, payload: bytes) -> None:
        """Queue an encoded metric export for one destination, if it is there and takes metrics."""
        worker = self._workers.get(name)
        if worker is not None:
            worker.offer_metrics(payload)

    def replace(self, destinations: Mapping[str, Destination]) -> None:
        """From now on these, and only these. Follow with `settled`."""
        before, workers = self._workers, {}
        for name, destination in destinations.items():
            worker = before.get(name)
            if worker is None:
                worker = self._worker(name, destination)
                worker.start()
            elif destination != self._destinations[name]:
                worker.move(destination)
            workers[name] = worker
        self._workers, self._destinations = workers, dict(destinations)
        self._retire([worker for name, worker in before.items() if name not in workers])

    def settled(self, deadline: float) -> tuple[str, ...]:
        """Wait until no request is in flight that is looser or older than what is in force.

        Returns the names of destinations where that could not be reached before ``deadline``
        (monotonic clock).
        """
        grace_until = min(time.monotonic() + self._bounds.grace_s, deadline)
        everyone = (*self._workers.values(), *self._leaving)
        stuck = tuple(x.name for x in everyone if not x.settled(grace_until, deadline))
        self._leaving = [worker for worker in self._leaving if worker.name in stuck]
        return stuck

    def watch(self, now: float) -> None:
        """End requests that are past their deadline."""
        for worker in self._workers.values():
            worker.watch(now)

    def flush(self, deadline: float) -> bool:
        """Send all that is queued; True when nothing is left."""
        workers = [*self._workers.values()]
        for worker in workers:
            worker.hurry(deadline)
        return all(worker.emptied(deadline) for worker in workers)

    def stop(self, deadline: float) -> None:
        """End all threads; what is left is dropped and counted."""
        workers = [*self._workers.values()]
        for worker in workers:
            worker.retire()
        for worker in workers:
            worker.stop(deadline)

    def status(self) -> dict[str, DestinationStatus]:
        """Each destination's counts, by name."""
        return {name: worker.status() for name, worker in self._workers.items()}

    @property
    def dropped(self) -> int:
        """Spans dropped by the destinations that are and that were."""
        present = sum(worker.status().dropped for worker in self._workers.values())
        return self._dropped_before + present

    def _worker(self, name: str, destination: Destination) -> DestinationWorker:
        return DestinationWorker(
            name,
            destination,
            self._privacy,
            self._resource,
            self._bounds,
            self._environ,
            self._genai,
        )

    def _retire(self, workers: list[DestinationWorker]) -> None:
        for worker in workers:
            worker.retire()
            self._dropped_before += worker.status().dropped
        self._leaving += workers
