"""Settings from the control plane: checked, applied, confirmed.

One thread owns everything that can change: it takes the events that the OpAMP driver hands
over, one at a time, and reports. APPLIED is said when it is true (OpAMP, "Configuration"):
after the pipeline has swapped, no older request is in flight, and the state is on disk.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource

from llm_observe.agent import reports
from llm_observe.agent.lastgood import LastGood, RemoteState
from llm_observe.agent.offers import held_fragment, new_problems, read_offer, with_remote
from llm_observe.agent.options import Options
from llm_observe.errors import Problem, SettingsError
from llm_observe.opamp import AgentCapabilities, ConfigState, ConfigStatus, events
from llm_observe.opamp.io.websocket import WebSocketClient
from llm_observe.settings.documents import document_hash, flatten
from llm_observe.settings.layers import Resolved
from llm_observe.tracing import instrument
from llm_observe.tracing.pipeline import Pipeline

logger = logging.getLogger("llm_observe.agent")

CAPABILITIES = (
    AgentCapabilities.REPORTS_STATUS
    | AgentCapabilities.ACCEPTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG
    | AgentCapabilities.REPORTS_HEALTH
    | AgentCapabilities.REPORTS_HEARTBEAT
    | AgentCapabilities.REPORTS_AVAILABLE_COMPONENTS
)
"""What this agent can do; nothing that it cannot."""

_LOOK_S = 2.0
_APPLY_S = 15.0


def config_hash(resolved: Resolved) -> str:
    """The hash that marks spans recorded under these settings: 16 hex digits."""
    return document_hash(resolved.document).hex()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Everything that was decided before the thread starts."""

    options: Options
    url: str
    instance_uid: bytes
    resource: Resource
    pipeline: Pipeline
    lastgood: LastGood
    remote: RemoteState
    resolved: Resolved


class Runtime:
    """The agent's thread. Order of calls: ``start`` once, ``stop`` once."""

    def __init__(self, start: Start, *, clock: Callable[[], float] = time.time) -> None:
        self._given, self._clock = start, clock
        self._pipeline = start.pipeline
        self.resolved, self.remote = start.resolved, start.remote
        self._inbox: queue.SimpleQueue[events.ClientEvent | None] = queue.SimpleQueue()
        self._started_ns = int(clock() * 1e9)
        self._seen_health: tuple[object, ...] = ()
        self._seen_components: tuple[object, ...] = ()
        self._client = WebSocketClient(
            start.url,
            start.instance_uid,
            CAPABILITIES,
            self._inbox.put,
            headers=_authorization(start.options.token),
        )
        self._thread = threading.Thread(target=self._run, name="llm-observe-agent", daemon=True)

    def start(self) -> None:
        """Report everything, begin to connect, and serve events until `stop`."""
        self._client.report(
            description=reports.description(self._given.resource),
            effective_config=reports.effective_config(self.resolved),
            config_status=_config_status(self.remote),
        )
        self._look()
        self._client.start()
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Say goodbye and end the thread, within ``timeout_s`` seconds."""
        until = time.monotonic() + timeout_s
        self._inbox.put(None)
        self._client.stop(timeout_s)
        if self._thread.is_alive():
            self._thread.join(max(0.0, until - time.monotonic()))

    @property
    def link(self) -> tuple[bool, str]:
        """Whether the control plane is connected, and the last error."""
        state = self._client.state
        return state.connected, state.last_error

    def _run(self) -> None:
        while True:
            event = self._next()
            if event is _STOP:
                return
            try:
                if isinstance(event, events.ConfigOffered):
                    self._offered(event)
                self._look()
            except Exception:  # the agent's thread must outlive any fault of its own
                logger.exception("llm-observe: the agent's thread met a fault and goes on")

    def _next(self) -> object:
        """The next event; of several waiting offers only the newest counts."""
        try:
            event = self._inbox.get(timeout=_LOOK_S)
            while isinstance(event, events.ConfigOffered) and not self._inbox.empty():
                later = self._inbox.get()
                if later is None or isinstance(later, events.ConfigOffered):
                    event = later
        except queue.Empty:
            return None
        return _STOP if event is None else event

    def _offered(self, offer: events.ConfigOffered) -> None:
        if offer.config_hash == self.remote.received_hash:
            self._client.report(config_status=_config_status(self.remote))
            return
        self._client.report(config_status=ConfigStatus(offer.config_hash, ConfigState.APPLYING, ""))
        try:
            self._apply(offer)
        except SettingsError as error:
            self._refuse(offer.config_hash, error.problems)
        except Exception as error:  # whatever it was, the server must not read silence as success
            logger.exception("llm-observe: could not apply the offered settings")
            found = f"an internal fault ({type(error).__name__})"
            self._refuse(offer.config_hash, [Problem("", found, "settings that can be applied")])

    def _apply(self, offer: events.ConfigOffered) -> None:
        given = self._given.options
        fragment = read_offer(offer.files, given.limits)
        now = self._clock()
        candidate = with_remote(given.layers, fragment, now, given.limits)
        problems = new_problems(candidate, self.resolved)
        if problems:
            raise SettingsError(problems)
        applied = self._pipeline.apply(
            candidate.settings, config_hash(candidate), timeout_s=_APPLY_S
        )
        if applied.problems:
            held = held_fragment(self.resolved, applied.settings, self.remote.fragment)
            self._refuse(offer.config_hash, applied.problems, held)
            return
        self.resolved = _keep_ages(candidate, self.resolved)
        self._settle(RemoteState(fragment, now, offer.config_hash))

    def _refuse(
        self,
        received: bytes,
        problems: Iterable[Problem],
        held: Mapping[str, object] | None = None,
    ) -> None:
        """What held before holds on; what was tightened meanwhile stays tightened."""
        fragment, since = self.remote.fragment, self.remote.since
        if held is not None and held != fragment:
            fragment, since = held, self._clock()
            given = self._given.options
            tightened = with_remote(given.layers, fragment, since, given.limits)
            self.resolved = _keep_ages(tightened, self.resolved)
            self._pipeline.config_hash = config_hash(self.resolved)
        error = "\n".join(map(str, problems))
        self._settle(RemoteState(fragment, since, received, applied=False, error=error))

    def _settle(self, state: RemoteState) -> None:
        """To disk first, then to the server."""
        self.remote = state
        self._given.lastgood.save(state)
        self._client.report(
            effective_config=reports.effective_config(self.resolved),
            config_status=_config_status(state),
        )

    def _look(self) -> None:
        """Report health and instrumentors where they changed."""
        trouble = self._given.lastgood.trouble
        health = reports.health(
            self._pipeline.status(),
            [trouble] if trouble else [],
            self._started_ns,
            int(self._clock() * 1e9),
        )
        seen = (health.healthy, health.last_error, *health.components)
        if seen != self._seen_health:
            self._seen_health = seen
            self._client.report(health=health)
        found = instrument.installed()
        if found != self._seen_components:
            self._seen_components = found
            self._client.report(components=reports.components(found))


_STOP = object()


def _config_status(state: RemoteState) -> ConfigStatus:
    if not state.received_hash:
        return ConfigStatus(b"", ConfigState.UNSET, "")
    verdict = ConfigState.APPLIED if state.applied else ConfigState.FAILED
    return ConfigStatus(state.received_hash, verdict, state.error)


def _authorization(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _keep_ages(new: Resolved, old: Resolved) -> Resolved:
    """A key that the same layer still sets to the same value keeps its age."""
    before, after = flatten(old.document), flatten(new.document)
    sources = {
        path: old.sources[path]
        if path in old.sources
        and old.sources[path].layer == source.layer
        and before.get(path) == after.get(path)
        else source
        for path, source in new.sources.items()
    }
    return Resolved(new.settings, new.document, sources, new.capped)
