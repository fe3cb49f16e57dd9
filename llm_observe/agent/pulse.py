"""When this process's vitals are sent, and where to: OpAMP's ``own_metrics``, if anybody wants them.

Every ten seconds, as OpAMP recommends ("Own Telemetry Reporting"), to the destination that the offer
became, and to no other: a backend of the app's own is not flooded with what nobody asked it to take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.resources import Resource

from llm_observe.agent import receivers, vitals
from llm_observe.agent.receivers import Own
from llm_observe.agent.vitals import Vitals
from llm_observe.tracing.export import late

PERIOD_S = 10.0

_ENCODER = "llm_observe.agent.own_metrics"


class Pulse:
    """Looks at the process from time to time. For one thread.

    ``send`` queues an encoded export for a destination; ``look`` reads the vitals.
    """

    def __init__(
        self, send: Callable[[str, bytes], None], look: Callable[[], Vitals] = vitals.look
    ) -> None:
        self._send, self._look = send, look
        self._due = float("-inf")
        self._since_ns: int | None = None
        self._before: Vitals | None = None

    def beat(self, own: Own, resource: Resource, now: float) -> None:
        """Send if it is time; ``now`` is in seconds, on any clock that only goes forward."""
        name = receivers.metrics_destination(own)
        if not name:
            self._before, self._due = None, now  # who asks is told at once
        elif now >= self._due:
            self._due = now + PERIOD_S
            self._tell(name, resource)

    def _tell(self, name: str, resource: Resource) -> None:
        seen = self._look()
        if self._since_ns is None:  # once: to who receives them another start is a restart
            self._since_ns = seen.started_ns or seen.at_ns
        encoder: Any = late.load(_ENCODER)
        self._send(name, encoder.request(resource, seen, self._before, self._since_ns))
        self._before = seen
