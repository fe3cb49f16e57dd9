"""`observe`: the one call that an application makes, and the handle it gets back.

On the caller's thread: read the environment and the last good settings, build the pipeline,
wrap the client libraries. Everything heavy (OpAMP, validation, exporters) is loaded by the
threads that use it. Nothing here raises once the arguments have been checked.
"""

from __future__ import annotations

import _thread
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llm_observe.agent import doors, standing
from llm_observe.agent.exits import exits
from llm_observe.agent.options import Options
from llm_observe.agent.status import Link, Status, delivered
from llm_observe.settings.documents import Fragment
from llm_observe.settings.model import Limits, Settings
from llm_observe.tracing import instrument, patch
from llm_observe.tracing.export import late
from llm_observe.uids import uid_text

if TYPE_CHECKING:
    from llm_observe.agent.runtime import Runtime

logger = logging.getLogger("llm_observe")

_RUNTIME = "llm_observe.agent.runtime"
_SETTLE_S = 0.1
"""A forked child that lives shorter (most of them run another program) is not announced."""


class Handle:
    """Observation in this process. `observe` makes it; there is one per process."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._first = standing.first(options)
        self._runtime: Runtime | None = None
        self._closed = False
        self.provisional = False
        """Begun on a command line's word alone; the program's own `observe` takes it over."""
        if not options.disabled:
            self._connect()

    def _connect(self) -> None:
        now = self._first
        self._pipeline = doors.make_pipeline(now.resource, now.resolved.settings, now.config_hash)
        patch.connect(self._pipeline)
        if self._options.instrument:
            instrument.install()
        self._start_runtime()
        exits.open(self._end, use_signals=self._options.signals)

    @property
    def _standing(self) -> standing.Standing:
        runtime = self._runtime
        return runtime.standing if runtime else self._first

    def _start_runtime(self, after_s: float = 0.0) -> None:
        url = self._options.opamp_url
        if url is not None:  # below `threading`, whose start() waits until the thread has its turn
            _thread.start_new_thread(self._load_runtime, (url, after_s))

    def _load_runtime(self, url: str, after_s: float) -> None:
        """On a thread of its own: loading pydantic, protobuf and websockets takes a while."""
        try:
            time.sleep(after_s)
            module, options = late.load(_RUNTIME), self._options
            start = module.Start(options=options, standing=self._first, pipeline=self._pipeline)
            runtime: Runtime = module.Runtime(start, module.dialling(url, options.token))
            with _LOCK:  # a program that took over meanwhile has started another one
                if not self._closed and options is self._options and self._runtime is None:
                    runtime.start()
                    self._runtime = runtime
        except Exception:  # an app must run on when its remote control cannot start
            logger.exception("llm-observe: remote control could not start; tracing goes on")

    def take_over(self, options: Options) -> None:
        """The program itself says what it wants. In force when this returns; nothing is lost."""
        was, self._options = self._options, options
        if was.disabled:
            return
        now = self._first = standing.retold(self._standing, options)
        self._pipeline.begin_again(now.resource, now.resolved.settings, now.config_hash)
        if not options.instrument:
            instrument.uninstall()
        runtime, same = (
            self._runtime,
            (was.opamp_url, was.token) == (options.opamp_url, options.token),
        )
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
        inherited, self._first = self._runtime, standing.forked(self._standing)
        self._runtime = None
        if inherited is not None:
            inherited.let_go()
        now = self._first
        self._pipeline.after_fork_in_child(now.resource, now.resolved.settings, now.config_hash)
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
            settings=now.resolved.document,
            instrumentors={info.library: info.state for info in instrument.installed()},
            provider=str(now.resource.attributes.get(doors.PROVIDER, "")),
            disabled=self._options.disabled,
            remote_error=now.remote.error,
            problems=(*self._options.problems, *now.resolved.capped),
            troubles=(now.lastgood.trouble,) if now.lastgood.trouble else (),
            destinations=delivered(found) if found else {},
            calls=found.calls if found else 0,
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


_LOCK = threading.Lock()
_current: tuple[Handle, dict[str, Any]] | None = None


def observe(
    service_name: str | None = None,
    *,
    server: str | None = None,
    opamp_endpoint: str | None = None,
    token: str | None = None,
    settings: Settings | Fragment | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    resource: Mapping[str, Any] | None = None,
    instrument: bool = True,
) -> Handle:
    """Observe this process's LLM calls from now on.

    Call it once, early. A second call changes nothing, warns if its arguments differ, and
    returns the first handle, so that it may stand in a script that is run again and again.

    Args:
        service_name: ``service.name``; default ``OTEL_SERVICE_NAME``, else the script's name.
        server: The control plane, such as ``http://127.0.0.1:4320``; default
            ``LLM_OBSERVE_SERVER``. Without one nothing is dialled.
        opamp_endpoint: An OpAMP endpoint other than the control plane's own; its scheme chooses
            the transport (``ws``, ``wss``: WebSocket; ``http``, ``https``: polling). Default
            ``LLM_OBSERVE_OPAMP_ENDPOINT``.
        token: Ingest token of the control plane; default ``LLM_OBSERVE_TOKEN``.
        settings: The program's own settings, above the environment and below remote ones.
        limits: What no layer may exceed, the remote one included.
        resource: Further resource attributes.
        instrument: False leaves client libraries unwrapped.

    Raises:
        SettingsError: ``settings``, ``limits`` or ``server`` are wrong; nothing was started.
    """
    global _current
    given: dict[str, Any] = {
        "service_name": service_name,
        "server": server,
        "opamp_endpoint": opamp_endpoint,
        "token": token,
        "settings": settings,
        "limits": limits,
        "resource": resource,
        "instrument": instrument,
    }
    arguments = doors.with_preset(given)
    with _LOCK:
        if _current is not None and not _current[0]._closed:
            _current = _again(*_current, arguments)
        else:
            _current = (Handle(_options(arguments)), arguments)
        return _current[0]


def _again(
    handle: Handle, before: dict[str, Any], arguments: dict[str, Any]
) -> tuple[Handle, dict[str, Any]]:
    """A further call; of a program that a command line spoke for, the first that counts."""
    if handle.provisional:
        if before != arguments:
            handle.take_over(_options(arguments))
        handle.provisional = False
        return handle, arguments
    if before != arguments:
        logger.warning("llm-observe: already observing; the new arguments are ignored")
    return handle, before


def _options(arguments: Mapping[str, Any]) -> Options:
    wanted = arguments["settings"]
    if wanted is not None and not isinstance(wanted, Settings):
        standing.schema().validate(wanted)
    return doors.read_here(time.time(), **arguments)


def current() -> Handle | None:
    """The handle of this process, or None before `observe`."""
    return _current[0] if _current else None


def flush(timeout_s: float = 5.0) -> bool:
    """Send what is queued, everywhere; True if nothing is left (or nothing is observed)."""
    handle = current()
    return handle.flush(timeout_s) if handle else True


def shutdown() -> None:
    """Stop observing this process."""
    handle = current()
    if handle:
        handle.shutdown()


def _after_fork_in_child() -> None:
    """Once per process and fork, however often it was observed."""
    global _LOCK
    _LOCK = threading.Lock()
    if _current is not None:
        _current[0].after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
