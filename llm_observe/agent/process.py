"""Observation of one process: what is begun on the caller's thread, on others, and after a fork.

On the caller's thread: read the environment and the last good settings, build the pipeline,
wrap the client libraries. Everything heavy (OpAMP, validation, exporters) is loaded by the
threads that use it. Nothing here raises once the arguments have been checked.
"""

from __future__ import annotations

import _thread
import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_observe.agent import doors, granting, standing
from llm_observe.agent.exits import exits
from llm_observe.agent.options import Options
from llm_observe.agent.status import Link, Status, delivered
from llm_observe.settings.model import Settings
from llm_observe.tracing.export import folders, late
from llm_observe.tracing.wrapping import instrument, patch
from llm_observe.uids import uid_text

if TYPE_CHECKING:
    from llm_observe.agent.runtime import Runtime

logger = logging.getLogger("llm_observe")

_RUNTIME = "llm_observe.agent.runtime"
_EXPORTERS_FIRST_S = 0.05
"""Modules are loaded one after the other: what sends spans first, for a script that ends soon."""

_SETTLE_S = 0.1
"""A forked child that lives shorter (most of them run another program) is not announced."""


def _line(options: Options) -> tuple[object, ...]:
    """What the line to the control plane is made of."""
    return options.opamp_url, options.token, options.limits, options.connection_offers


class Handle:
    """Observation in this process. `observe` makes it; there is one per process."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._first = standing.first(options)
        self._runtime: Runtime | None = None
        self._switching = threading.Lock()
        self._closed = False
        self.provisional = False
        """Begun on a command line's word alone; the program's own `observe` takes it over."""
        self._fault = ""
        if not options.disabled:
            self._try_to_connect()

    def _try_to_connect(self) -> None:
        try:
            self._connect()
        except Exception as error:  # a fault of ours costs observation, never the app
            logger.exception("llm-observe: nothing is observed, because of a fault of our own")
            patch.connect(None)
            self._fault = type(error).__name__
            self._options = replace(self._options, disabled=True)

    def _connect(self) -> None:
        now = self._first
        folders.permit(self._options.limits.file_folders or ())
        self._pipeline = doors.make_pipeline(
            now.resource, now.resolved.settings, now.config_hash, now.grants(self._options.limits)
        )
        unasked = doors.wrapped_unasked()
        patch.connect(self._pipeline)
        if self._options.instrument:
            instrument.install()
        elif unasked:
            instrument.uninstall()
        self._start_runtime()
        exits.open(self._end, lambda: self.flush(0.0), use_signals=self._options.signals)

    @property
    def _standing(self) -> standing.Standing:
        runtime = self._runtime
        return runtime.standing if runtime else self._first

    def _start_runtime(self, after_s: float = _EXPORTERS_FIRST_S) -> None:
        if self._options.opamp_url is not None:
            # Below `threading`, whose start() waits until the thread has its turn.
            _thread.start_new_thread(self._load_runtime, (after_s,))

    def _load_runtime(self, after_s: float) -> None:
        """On a thread of its own: loading pydantic, protobuf and websockets takes a while."""
        try:
            time.sleep(after_s)
            if not self._closed:
                self._link_up()
        except Exception:  # an app must run on when its remote control cannot start
            logger.exception("llm-observe: remote control could not start; tracing goes on")

    def _link_up(self) -> None:
        module = late.load(_RUNTIME)
        with late.undisturbed():
            module.prepare()
        with self._switching:
            options, first = self._options, self._first
        url = options.opamp_url
        if url is None:
            return
        start = module.Start(options=options, standing=first, pipeline=self._pipeline)
        runtime: Runtime = module.Runtime(start, module.dialling(url, options, first.lastgood))
        with self._switching:  # a program that took over meanwhile has started another one
            if not self._closed and options is self._options and self._runtime is None:
                runtime.start()
                self._runtime = runtime

    def take_over(self, options: Options) -> None:
        """The program itself says what it wants. In force when this returns; nothing is lost."""
        with self._switching:
            self._switch(options)

    def _switch(self, options: Options) -> None:
        was, self._options = self._options, options
        if was.disabled:
            return
        folders.permit(options.limits.file_folders or ())
        now = self._first = standing.retold(self._standing, options)
        grants = now.grants(options.limits)
        self._pipeline.begin_again(
            now.resource, now.resolved.settings, now.config_hash, grants=grants
        )
        if not options.instrument:
            instrument.uninstall()
        runtime = self._runtime
        same = _line(was) == _line(options)
        if runtime is not None and same:
            runtime.take_over(options)
            return
        self._runtime = None
        if runtime is not None:
            threading.Thread(target=runtime.stop, name="llm-observe-stop", daemon=True).start()
        self._start_runtime()

    def after_fork_in_child(self) -> None:
        """A child is a process of its own: new instance, fresh locks, threads started anew."""
        if self._closed or self._options.disabled:
            return
        try:
            self._renew()
        except Exception:  # a fork of the app must never fail because of us
            logger.exception("llm-observe: observation could not be renewed after a fork")

    def _renew(self) -> None:
        self._switching = threading.Lock()
        inherited, self._first = self._runtime, standing.forked(self._standing)
        self._runtime = None
        if inherited is not None:
            inherited.let_go()
        now = self._first
        grants = now.grants(self._options.limits)
        self._pipeline.after_fork_in_child(
            now.resource, now.resolved.settings, now.config_hash, grants=grants
        )
        self._start_runtime(_SETTLE_S)

    @property
    def instance_id(self) -> str:
        """``service.instance.id`` of this process, also its OpAMP instance uid."""
        return uid_text(self._standing.uid)

    def settings(self) -> Settings:
        """The settings in force at this moment."""
        if self._options.disabled:
            return self._first.resolved.settings
        return self._pipeline.settings

    def status(self) -> Status:
        """What is connected, what is not, and why. Never raises."""
        now, runtime = self._standing, self._runtime
        connected, error = runtime.link if runtime else (False, "")
        server = self._options.server or self._options.opamp_endpoint
        found = None if self._options.disabled else self._pipeline.status()
        return Status(
            service_name=str(now.resource.attributes["service.name"]),
            instance_id=uid_text(now.uid),
            link=Link(server=server, connected=connected, last_error=error),
            settings=granting.in_force(now.resolved, now.book).document,
            instrumentors={info.library: info.state for info in instrument.installed()},
            provider=str(now.resource.attributes.get(doors.PROVIDER, "")),
            disabled=self._options.disabled,
            fault=self._fault,
            remote_error=now.remote.error,
            problems=(*self._options.problems, *now.resolved.capped),
            troubles=(now.lastgood.trouble,) if now.lastgood.trouble else (),
            destinations=delivered(found) if found else {},
            calls=found.calls if found else 0,
            dropped=found.dropped if found else 0,
        )

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send what is queued; False if that was not possible within ``timeout_s`` seconds."""
        return True if self._options.disabled else self._pipeline.flush(timeout_s)

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """Stop observing: unwrap the clients, send what is queued, say goodbye. Idempotent."""
        if self._closed or self._options.disabled:
            return
        self._end(timeout_s)
        exits.close()
        instrument.uninstall()

    def _end(self, timeout_s: float = 2.0) -> None:
        """The last words. May run while the main thread stands still inside anything at all."""
        if self._closed or self._options.disabled:
            return
        self._closed = True
        patch.connect(None)
        until = time.monotonic() + timeout_s
        self._pipeline.shutdown(timeout_s * 0.8)
        if self._runtime is not None:
            self._runtime.stop(max(0.1, until - time.monotonic()))
