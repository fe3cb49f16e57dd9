"""`observe`: the one call that an application makes, and the handle it gets back.

On the caller's thread: read the environment and the last good settings, build the pipeline,
wrap the client libraries. Everything heavy (OpAMP, validation, exporters) is loaded by the
threads that use it. Nothing here raises once the arguments have been checked.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from llm_observe.agent.identity import make_resource
from llm_observe.agent.lastgood import LastGood, RemoteState
from llm_observe.agent.options import Options, default_service_name, from_environment
from llm_observe.agent.status import DestinationState, Link, Status
from llm_observe.errors import LLMObserveError
from llm_observe.settings.documents import Fragment, document_hash
from llm_observe.settings.layers import Layer, LayerValue, Resolved, resolve
from llm_observe.settings.model import CaptureLevel, Limits, Settings
from llm_observe.tracing import instrument, patch
from llm_observe.tracing.pipeline import Pipeline
from llm_observe.uids import new_uid
from llm_observe.version import __version__

if TYPE_CHECKING:
    from llm_observe.agent.runtime import Runtime

logger = logging.getLogger("llm_observe")

_CAUTIOUS: dict[str, Any] = {"capture": {"level": str(CaptureLevel.METADATA)}}
"""The remote layer where the saved one is damaged: it may have been a tightening."""


class Handle:
    """Observation in this process. `observe` makes it; there is one per process."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._service = options.service_name or default_service_name()
        self._runtime: Runtime | None = None
        self._closed = False
        self._begin(uuid.UUID(bytes=new_uid()))
        if not options.disabled:
            self._connect()

    def _begin(self, uid: uuid.UUID) -> None:
        """Decide who we are and under which settings we start."""
        self._uid = uid
        self._resource = make_resource(self._service, uid, self._options.resource, __version__)
        self._remote = RemoteState()
        self._lastgood = LastGood(None, __version__)
        if self._options.opamp_url and not self._options.disabled:
            self._lastgood = LastGood.open(self._options.state_root, self._service, __version__)
            self._remote = self._load_remote()
        self._resolved = self._resolve(self._remote)

    def _load_remote(self) -> RemoteState:
        saved = self._lastgood.load()
        if saved is None:
            return RemoteState(_CAUTIOUS) if self._lastgood.damaged else RemoteState()
        try:
            if saved.version != __version__:
                _schema().validate(saved.state.fragment)
            self._resolve(saved.state)
        except (LLMObserveError, TypeError, ValueError, KeyError, AttributeError) as error:
            self._lastgood.trouble = f"the saved settings do not fit this version: {error}"
            return RemoteState(_CAUTIOUS)
        return saved.state

    def _resolve(self, remote: RemoteState) -> Resolved:
        layers = {**self._options.layers, Layer.REMOTE: LayerValue(remote.fragment, remote.since)}
        return resolve(layers, self._options.limits)

    def _connect(self) -> None:
        digest = document_hash(self._resolved.document).hex()[:16]
        self._pipeline = Pipeline(self._resource, self._resolved.settings, digest)
        _offer_provider(self._pipeline.tracer_provider)
        patch.connect(self._pipeline)
        if self._options.instrument:
            instrument.install()
        self._start_runtime()
        atexit.register(self.shutdown)
        os.register_at_fork(after_in_child=self._after_fork)

    def _start_runtime(self) -> None:
        url = self._options.opamp_url
        if url is not None:
            starter = threading.Thread(
                target=self._load_runtime, args=(url,), name="llm-observe-start", daemon=True
            )
            self._starter = starter
            starter.start()

    def _load_runtime(self, url: str) -> None:
        """On a thread of its own: loading pydantic, protobuf and websockets takes a while."""
        try:
            module = importlib.import_module("llm_observe.agent.runtime")
            start = module.Start(
                options=self._options,
                url=url,
                instance_uid=self._uid.bytes,
                resource=self._resource,
                pipeline=self._pipeline,
                lastgood=self._lastgood,
                remote=self._remote,
                resolved=self._resolved,
            )
            runtime = module.Runtime(start)
            if not self._closed:
                runtime.start()
                self._runtime = runtime
        except Exception:  # an app must run on when its remote control cannot start
            logger.exception("llm-observe: remote control could not start; tracing goes on")

    def _after_fork(self) -> None:
        """A child is a process of its own: new instance, fresh locks, threads started anew."""
        if self._closed:
            return
        try:
            self._runtime = None
            self._begin(uuid.UUID(bytes=new_uid()))
            self._pipeline.after_fork_in_child(self._resource)
            self._start_runtime()
        except Exception:  # a fork of the app must never fail because of us
            logger.exception("llm-observe: observation could not be renewed after a fork")

    @property
    def instance_id(self) -> str:
        """``service.instance.id`` of this process, also its OpAMP instance uid."""
        return str(self._uid)

    def settings(self) -> Settings:
        """The settings in force at this moment."""
        return self._resolved.settings if self._options.disabled else self._pipeline.settings

    def status(self) -> Status:
        """What is connected, what is not, and why. Never raises."""
        runtime = self._runtime
        connected, error = runtime.link if runtime else (False, "")
        resolved = runtime.resolved if runtime else self._resolved
        remote = runtime.remote if runtime else self._remote
        return Status(
            service_name=self._service,
            instance_id=self.instance_id,
            link=Link(server=self._options.server, connected=connected, last_error=error),
            settings=resolved.document,
            instrumentors={info.library: info.state for info in instrument.installed()},
            disabled=self._options.disabled,
            remote_error=remote.error,
            problems=(*self._options.problems, *resolved.capped),
            troubles=(self._lastgood.trouble,) if self._lastgood.trouble else (),
            **self._delivered(),
        )

    def _delivered(self) -> dict[str, Any]:
        if self._options.disabled:
            return {}
        status = self._pipeline.status()
        destinations = {
            name: DestinationState(
                endpoint=item.endpoint,
                sent=item.sent,
                queued=item.queued,
                failed=item.failed,
                dropped=item.dropped,
                last_error=item.last_error,
            )
            for name, item in status.destinations.items()
        }
        return {"destinations": destinations, "calls": status.calls}

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send what is queued; False if that was not possible within ``timeout_s`` seconds."""
        return True if self._options.disabled else self._pipeline.flush(timeout_s)

    def shutdown(self, timeout_s: float = 2.0) -> None:
        """Stop observing: unwrap the clients, send what is queued, say goodbye. Idempotent."""
        if self._closed or self._options.disabled:
            return
        self._closed = True
        atexit.unregister(self.shutdown)
        patch.connect(None)
        instrument.uninstall()
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
    arguments: dict[str, Any] = {
        "service_name": service_name,
        "server": server,
        "opamp_endpoint": opamp_endpoint,
        "token": token,
        "settings": settings,
        "limits": limits,
        "resource": resource,
        "instrument": instrument,
    }
    with _LOCK:
        if _current is not None and not _current[0]._closed:
            if _current[1] != arguments:
                logger.warning("llm-observe: already observing; the new arguments are ignored")
            return _current[0]
        if settings is not None and not isinstance(settings, Settings):
            _schema().validate(settings)
        handle = Handle(from_environment(time.time(), **arguments))
        _current = (handle, arguments)
        return handle


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


def _schema() -> Any:
    """The checker, loaded when it is needed: it brings pydantic with it."""
    return importlib.import_module("llm_observe.settings.schema")


def _offer_provider(provider: trace.TracerProvider) -> None:
    """Make ours the global provider where nobody has set one; else leave theirs alone."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)
