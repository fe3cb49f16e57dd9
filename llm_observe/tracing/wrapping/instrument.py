"""Put the wrapper around client libraries, imported before or after us, and take it off again.

A library that is imported later is caught by an import hook (wrapt). Nothing is imported for the
app, and what is absent costs nothing.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import wrapt

from llm_observe.tracing.gate import gate
from llm_observe.tracing.providers import PROVIDERS
from llm_observe.tracing.providers.base import Provider, Target
from llm_observe.tracing.wrapping.patch import Patch

_RIVALS = {"replicate": ("opentelemetry.instrumentation.replicate", "ReplicateInstrumentor")}
"""Instrumentors of others for the same library: module and class."""


@dataclass(frozen=True, slots=True)
class InstrumentorInfo:
    """One client library and whether its calls are recorded.

    States: ``active``; ``waiting`` (not imported yet); ``absent``; ``unsupported`` (version);
    ``conflict`` (another instrumentor wraps it); ``failed``; ``off`` (nobody wants it, or a setting
    says so).
    """

    name: str
    library: str
    version: str
    state: str
    reason: str = ""


@dataclass(slots=True)
class _Entry:
    """What was done for one library."""

    providers: tuple[Provider, ...]
    """One for each of its major versions."""
    hooked: bool = False
    state: str = "off"
    reason: str = ""
    undo: list[tuple[Any, str, Any, Any, Patch]] = field(default_factory=list)


def _by_name() -> dict[str, _Entry]:
    names = dict.fromkeys(provider.name for provider in PROVIDERS)
    return {name: _Entry(tuple(p for p in PROVIDERS if p.name == name)) for name in names}


_entries = _by_name()
_switched_off: dict[str, str] = {}
"""Providers that shall not be recorded for now, and by which key."""
_lock = threading.RLock()  # an import hook may fire inside install()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


def install() -> None:
    """Instrument every known library, now or when it is imported. Doing it again changes nothing."""
    for entry in _entries.values():
        with gate, _lock:
            if entry.state == "off":
                entry.state, entry.reason = "waiting", ""
                _hook(entry)


def uninstall() -> None:
    """Take every wrapper off; one that somebody has wrapped since stays, and does nothing."""
    for entry in _entries.values():
        with gate, _lock:
            while entry.undo:
                _unwrap(*entry.undo.pop())
            entry.state, entry.reason = "off", ""


def known() -> tuple[str, ...]:
    """The names of all libraries that can be recorded."""
    return tuple(_entries)


def switch(off: Mapping[str, str]) -> None:
    """Record every library but these; by name, with the settings key that says so. At once.

    Wrappers stay where they are, and let no call begin. Calls under way go on to their end.
    """
    with gate, _lock:
        _switched_off.clear()
        _switched_off.update(off)
        for name, entry in _entries.items():
            for *_, patch in entry.undo:
                patch.on = name not in off


def installed() -> tuple[InstrumentorInfo, ...]:
    """Every known library with its version and state."""
    return tuple(map(_info, _entries.values()))


def _hook(entry: _Entry) -> None:
    first, entry.hooked = not entry.hooked, True
    for provider in entry.providers:
        module = provider.targets[0].module
        if first:  # calls at once if the module is there
            wrapt.register_post_import_hook(partial(_imported, entry, provider), module)
        elif module in sys.modules:
            _imported(entry, provider, sys.modules[module])


def _imported(entry: _Entry, provider: Provider, module: ModuleType) -> None:
    """The library is there. Runs inside the app's import: nothing may come out of it."""
    with _lock:
        version = _version(provider.library)
        meant_for_another = not _fits(provider, version) and _fitting(entry, version)
        if entry.state != "waiting" or meant_for_another:
            return
        try:
            entry.state, entry.reason = _objection(entry, provider) or _wrap_all(entry, provider)
        except Exception as error:  # noqa: BLE001  # the app's import must succeed
            gate.report(error)
            entry.state, entry.reason = "failed", f"{type(error).__name__}: {error}"


def _objection(entry: _Entry, provider: Provider) -> tuple[str, str] | None:
    version = _version(provider.library)
    if not _fits(provider, version):
        return "unsupported", _unsupported(entry, version)
    rival = _rival(provider)
    return ("conflict", f"{rival} already records these calls") if rival else None


def _wrap_all(entry: _Entry, provider: Provider) -> tuple[str, str]:
    try:
        for target in provider.targets:
            with contextlib.suppress(*((AttributeError, ImportError) if target.optional else ())):
                entry.undo.append(_wrap(provider, target))
    except (AttributeError, ImportError) as error:
        while entry.undo:
            _unwrap(*entry.undo.pop())
        return "unsupported", str(error)
    return "active", ""


def _wrap(provider: Provider, target: Target) -> tuple[Any, str, Any, Any, Patch]:
    parent, attribute, original = wrapt.resolve_path(target.module, target.name)
    patch = Patch(provider, target)
    patch.on = provider.name not in _switched_off
    wrapper = wrapt.FunctionWrapper(original, patch)
    wrapt.apply_patch(parent, attribute, wrapper)
    return parent, attribute, original, wrapper, patch


def _unwrap(parent: Any, attribute: str, original: Any, wrapper: Any, patch: Patch) -> None:
    patch.on = False
    if vars(parent).get(attribute) is wrapper:
        setattr(parent, attribute, original)


def _info(entry: _Entry) -> InstrumentorInfo:
    state, reason = entry.state, entry.reason
    version = _version(entry.providers[0].library)
    provider = _fitting(entry, version) or entry.providers[0]
    key = _switched_off.get(provider.name, "")
    if state == "waiting":
        state, reason = _waiting(entry, version)
    if key and state in {"active", "waiting"}:
        state, reason = "off", f"switched off by {key}"
    elif state == "active" and (rival := _rival(provider)):
        reason = f"{rival} is active too: calls may be recorded twice"
    return InstrumentorInfo(provider.name, provider.library, version, state, reason)


def _waiting(entry: _Entry, version: str) -> tuple[str, str]:
    if not version:
        return "absent", f"{entry.providers[0].library} is not installed"
    if _fitting(entry, version) is None:
        return "unsupported", _unsupported(entry, version)
    return "waiting", "not imported yet"


def _fitting(entry: _Entry, version: str) -> Provider | None:
    return next((provider for provider in entry.providers if _fits(provider, version)), None)


def _fits(provider: Provider, version: str) -> bool:
    major = version.partition(".")[0]
    return not version or (major.isdigit() and int(major) in provider.majors)


def _unsupported(entry: _Entry, version: str) -> str:
    wanted = " or ".join(f"{m}.x" for provider in entry.providers for m in provider.majors)
    return f"{entry.providers[0].library} {version} is installed, {wanted} is supported"


_versions: dict[str, tuple[str, float]] = {}
_ABSENT_S = 30.0
"""How long an absent library is taken to be so: finding out reads every folder of packages."""


def _version(library: str) -> str:
    """Of the distribution; what is there is asked once, for the agent looks every two seconds."""
    known, until = _versions.get(library, ("", 0.0))
    if known or time.monotonic() < until:
        return known
    try:
        known = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        known = ""
    _versions[library] = known, time.monotonic() + _ABSENT_S
    return known


def _rival(provider: Provider) -> str:
    """The name of another instrumentor that is active for this library; it is never imported."""
    module_name, class_name = _RIVALS.get(provider.name, ("", ""))
    rival = getattr(sys.modules.get(module_name), class_name, None)
    with gate:
        if rival is not None and rival().is_instrumented_by_opentelemetry:
            return module_name.replace(".", "-")
    return ""


if hasattr(os, "register_at_fork"):  # another thread may hold the lock when the process forks
    os.register_at_fork(after_in_child=_renew_lock)
