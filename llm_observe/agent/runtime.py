"""Settings from the control plane: checked, applied, confirmed.

One thread owns everything that can change: it takes the events that the OpAMP client hands
over, one at a time, and reports. APPLIED is said when it is true (OpAMP, "Configuration"):
after the pipeline has swapped, no older request is in flight, and the state is on disk.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from llm_observe.agent import doors, granting, owning, reports, standing
from llm_observe.agent.health import Watch
from llm_observe.agent.lastgood import RemoteState
from llm_observe.agent.link import MakeLink, dialling
from llm_observe.agent.offers import (
    held_fragment,
    keep_ages,
    new_problems,
    read_offer,
)
from llm_observe.agent.options import Options
from llm_observe.agent.pulse import Pulse
from llm_observe.agent.standing import Standing, config_hash
from llm_observe.agent.steered import Steered
from llm_observe.errors import Problem, SettingsError
from llm_observe.opamp import ConfigFile, ConfigState, ConfigStatus, events
from llm_observe.policy.capture import Clocks
from llm_observe.policy.grants import Book
from llm_observe.settings.layers import Resolved
from llm_observe.settings.schema import schema_hash
from llm_observe.tracing.clocks import present
from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping import instrument

__all__ = ["Runtime", "Start", "dialling", "prepare"]

logger = logging.getLogger("llm_observe.agent")

_LOOK_S = 2.0
_APPLY_S = 15.0
_SOON_S = 0.02
_KEEP_S = 10.0
"""How often the book of grants is written down while one runs."""
_STOP, _WAKE = object(), events.Connected()


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Everything that was decided before the thread starts."""

    options: Options
    standing: Standing
    pipeline: Steered


def prepare() -> None:
    """Make the checker of settings. pydantic loads modules while it makes one, so that a process
    must not fork meanwhile: the child's would stay half loaded for ever.
    """
    schema_hash()


class Runtime:
    """The agent's thread. Order of calls: ``start`` once, ``stop`` once.

    ``standing`` is who this process is and what is in force; another thread, or a fork, always
    sees it whole. Without ``start``, `step` does the thread's work: for tests.
    """

    def __init__(
        self,
        start: Start,
        make_link: MakeLink,
        *,
        clock: Callable[[], float] = time.time,
        clocks: Callable[[], Clocks] = present,
    ) -> None:
        self._clocks, self._kept_at = clocks, 0.0
        self._options, self._pipeline, self._clock = start.options, start.pipeline, clock
        self.standing = start.standing
        self._inbox: queue.SimpleQueue[events.ClientEvent | None] = queue.SimpleQueue()
        self._waiting: deque[events.ClientEvent | None] = deque()
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.ConfigOffered: self._offered,
            events.IdentityAssigned: self._renamed,
            events.ConnectionSettingsOffered: self._wanted_elsewhere,
        }
        self._watch = Watch(int(clock() * 1e9))
        self._pulse = Pulse(start.pipeline.send_metrics)
        self._seen_components: object = None
        self._told: Options | None = None
        self._link = make_link(start.standing.uid, self._inbox.put)
        self._thread = threading.Thread(target=self._run, name="llm-observe-agent", daemon=True)

    def start(self) -> None:
        """Report everything, begin to connect, and serve events until `stop`."""
        self.introduce()
        self._link.start()
        self._thread.start()

    def introduce(self) -> None:
        """Hand the whole truth to the client; it is sent when a line stands."""
        self._link.report(
            description=reports.description(self.standing.resource),
            effective_config=self._effective(),
            config_status=reports.config_status(self.standing.remote),
        )
        self._look()

    def _effective(self) -> dict[str, ConfigFile]:
        samples = doors.PROVIDER not in self.standing.resource.attributes
        now = granting.in_force(self.standing.resolved, self.standing.book)
        return reports.effective_config(now, samples=samples)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Say goodbye and end the thread, within ``timeout_s`` seconds."""
        until = time.monotonic() + timeout_s
        self._inbox.put(None)
        self._link.stop(timeout_s)
        if self._thread.is_alive():
            self._thread.join(max(0.0, until - time.monotonic()))

    def take_over(self, options: Options) -> None:
        """The program itself says what it wants; it counts from this thread's next step on."""
        self._told = options
        self._inbox.put(_WAKE)

    def let_go(self) -> None:
        """In a forked child: give up the parent's line; this object is of no use afterwards."""
        self._link.let_go()

    @property
    def link(self) -> tuple[bool, str]:
        """Whether the control plane is connected, and the last error."""
        state = self._link.state
        return state.connected, state.last_error

    def step(self, wait_s: float = 0.0) -> bool:
        """Serve the next event, if one comes within ``wait_s`` seconds; False after `stop`."""
        event = self._next(wait_s)
        if event is _STOP:
            return False
        try:
            self._heed()
            handle = self._handlers.get(type(event))
            if handle is not None:
                handle(event)
            self._end_grants()
            self._look()
            self._pulse.beat(self.standing.own, self.standing.resource, self._clocks().boot)
        except Exception:  # the agent's thread must outlive any fault of its own
            logger.exception("llm-observe: the agent's thread met a fault and goes on")
        return True

    def _run(self) -> None:
        while self.step(self._wait_s()):
            pass

    def _wait_s(self) -> float:
        """Until the next look, or the end of a grant."""
        left = self.standing.book.next_end(self._clocks())
        return _LOOK_S if left is None else min(_LOOK_S, left + _SOON_S)

    def _next(self, wait_s: float) -> object:
        """The next event; an offer that another one or the end follows is passed over."""
        with suppress(queue.Empty):
            if not self._waiting:
                self._waiting.append(self._inbox.get(timeout=wait_s))
            while True:
                self._waiting.append(self._inbox.get_nowait())
        while self._waiting:
            event = self._waiting.popleft()
            if not (isinstance(event, events.ConfigOffered) and any(map(_outdates, self._waiting))):
                return _STOP if event is None else event
        return None

    # -- identity -----------------------------------------------------------------------------

    def _renamed(self, event: events.IdentityAssigned) -> None:
        """The server gave this instance another uid (OpAMP, "AgentIdentification").

        Kept for the next process in this folder first; then everything that leaves carries it.
        """
        self.standing.lastgood.save_uid(event.instance_uid)
        self.standing = self.standing.renamed(event.instance_uid)
        self._pipeline.rename(self.standing.resource)
        self._link.report(description=reports.description(self.standing.resource))

    def _heed(self) -> None:
        """What the program itself has said meanwhile, over what was said for it before."""
        told, self._told = self._told, None
        if told is None:
            return
        before, self._options = self.standing.remote, told
        now = self.standing = standing.retold(self.standing, told, self._clocks())
        self._pipeline.begin_again(
            now.resource, now.resolved.settings, now.config_hash, grants=now.grants(told.limits)
        )
        self._keep(now.book)
        if now.remote != before:
            now.lastgood.save(now.remote)
        self.introduce()

    def _wanted_elsewhere(self, event: events.ConnectionSettingsOffered) -> None:
        """The server says where it wants our own telemetry; the client has seen to the rest."""
        errors: owning.Errors
        try:
            self.standing, errors = owning.take(
                self._pipeline, self.standing, self._options, event.offer, self._clock()
            )
        except Exception as error:  # whatever it was, the server must not read silence as success
            logger.exception("llm-observe: could not take up offered destinations")
            errors = dict.fromkeys(owning.NAMES, f"an internal fault ({type(error).__name__})")
        self._link.report(effective_config=self._effective())
        self._link.settle(event.offer.hash, errors)

    # -- settings -----------------------------------------------------------------------------

    def _offered(self, offer: events.ConfigOffered) -> None:
        remote = self.standing.remote
        if offer.config_hash == remote.received_hash:
            self._link.report(config_status=reports.config_status(remote))
            return
        self._link.report(config_status=ConfigStatus(offer.config_hash, ConfigState.APPLYING, ""))
        try:
            self._apply(offer)
        except SettingsError as error:
            self._refuse(offer.config_hash, error.problems)
        except Exception as error:  # whatever it was, the server must not read silence as success
            logger.exception("llm-observe: could not apply the offered settings")
            found = f"an internal fault ({type(error).__name__})"
            self._refuse(offer.config_hash, [Problem("", found, "settings that can be applied")])

    def _apply(self, offer: events.ConfigOffered) -> None:
        given, before = self._options, self.standing.resolved
        fragment = read_offer(offer.files, given.limits)
        remote = RemoteState(fragment, self._clock(), offer.config_hash)
        wanted = standing.resolved_of(given, remote, self.standing.own)
        problems = new_problems(wanted, before)
        if problems:
            raise SettingsError(problems)
        candidate, book = granting.begun(wanted, self.standing.book, self._clocks(), given.limits)
        applied = self._pipeline.apply(
            candidate.settings, config_hash(candidate),
            grants=granting.active(candidate, book, given.limits), timeout_s=_APPLY_S,
        )  # fmt: skip
        if applied.problems:
            held = held_fragment(before, applied.settings, self.standing.remote.fragment)
            self._refuse(offer.config_hash, applied.problems, held)
            return
        self._keep(book)
        self._settle(remote, keep_ages(candidate, before))

    def _refuse(
        self,
        received: bytes,
        problems: Iterable[Problem],
        held: Mapping[str, object] | None = None,
    ) -> None:
        """What held before holds on; what was tightened meanwhile stays tightened."""
        error = "\n".join(map(str, problems))
        before, resolved = self.standing.remote, self.standing.resolved
        remote = replace(before, received_hash=received, applied=False, error=error)
        if held is not None and held != before.fragment:
            remote = replace(remote, fragment=held, since=self._clock())
            given = self._options
            tightened = standing.resolved_of(given, remote, self.standing.own)
            here = self._clocks()
            tightened, book = granting.begun(tightened, self.standing.book, here, given.limits)
            self._keep(book)
            resolved = keep_ages(tightened, resolved)
            self._pipeline.config_hash = config_hash(resolved)
        self._settle(remote, resolved)

    def _settle(self, state: RemoteState, resolved: Resolved) -> None:
        """To disk first, then to the server."""
        self.standing = replace(self.standing, remote=state, resolved=resolved)
        self.standing.lastgood.save(state)
        logger.info("llm-observe: the settings in force are %s", self.standing.config_hash)
        self._link.report(
            effective_config=self._effective(),
            config_status=reports.config_status(state),
        )

    # -- grants -------------------------------------------------------------------------------

    def _end_grants(self) -> None:
        """What is over has ended: here and on disk first, then as the server is told.

        Nothing leaves under an ended grant even before this: its end is looked at for every span.
        """
        now, before = self._clocks(), self.standing
        book = before.book.at(now)
        if book != before.book or (book.running and now.boot - self._kept_at >= _KEEP_S):
            self._keep(book)
        resolved = granting.running(before.resolved, book)
        if resolved != before.resolved:
            self._without_ended(resolved, book)

    def _without_ended(self, resolved: Resolved, book: Book) -> None:
        """Said when it is true; what is still in flight by then is ended with the next step."""
        applied = self._pipeline.apply(
            resolved.settings, config_hash(resolved),
            grants=granting.active(resolved, book, self._options.limits), timeout_s=_APPLY_S,
        )  # fmt: skip
        for problem in applied.problems:
            logger.warning("llm-observe: a capture grant has ended, but %s", problem)
        if not applied.problems:
            self.standing = replace(self.standing, resolved=resolved)
            self._link.report(effective_config=self._effective())

    def _keep(self, book: Book) -> None:
        """The book from now on; on disk too, if anything is in it."""
        now = self._clocks()
        self.standing, self._kept_at = replace(self.standing, book=book), now.boot
        if book.running or book.ended:
            self.standing.lastgood.save_grants(book, now, granting.boot_id())

    # -- health -------------------------------------------------------------------------------

    def _look(self) -> None:
        """Report health and instrumentors where they changed."""
        found = instrument.installed()
        trouble = self.standing.lastgood.trouble
        status, now = self._pipeline.status(), self._clock()
        health = self._watch.look(status, found, gate.last, trouble, now)
        if health is not None:
            self._link.report(health=health)
        if found != self._seen_components:
            self._seen_components = found
            self._link.report(components=reports.components(found))


def _outdates(event: events.ClientEvent | None) -> bool:
    """Whether an offer before this is of no interest any more."""
    return event is None or isinstance(event, events.ConfigOffered)
