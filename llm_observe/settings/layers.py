"""Who decides a key: layers, from weakest to strongest, and the limits that cap them all.

``default < environment < code < offer < remote < grant``. Absent means no opinion. The
result knows for each key which layer its value came from and since when, because an
operator who sees a value must be able to see who set it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from llm_observe.errors import Problem
from llm_observe.settings.documents import Fragment, flatten, join_path, merge, split_path, without
from llm_observe.settings.model import PARTS, CaptureLevel, Destination, KeepRules, Limits, Settings
from llm_observe.settings.places import LOCAL, lies_in, place


class Layer(StrEnum):
    """Where a value came from; a later member wins over an earlier one."""

    DEFAULT = "default"
    ENVIRONMENT = "environment"
    CODE = "code"
    OFFER = "offer"
    REMOTE = "remote"
    GRANT = "grant"


@dataclass(frozen=True, slots=True)
class Source:
    """The layer that decided a key, and when it did (Unix seconds)."""

    layer: Layer
    since: float


@dataclass(frozen=True, slots=True)
class LayerValue:
    """What one layer says, and since when (Unix seconds)."""

    fragment: Fragment
    since: float


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings in force: as a value, as a nested document, and each key's source.

    ``capped`` names what a local layer asked for beyond the limits, and did not get.
    """

    settings: Settings
    document: Mapping[str, Any]
    sources: Mapping[str, Source]
    capped: tuple[Problem, ...] = ()


def resolve(layers: Mapping[Layer, LayerValue], limits: Limits | None = None) -> Resolved:
    """Merge the layers and cap the result.

    Every fragment must have passed `llm_observe.settings.schema.validate`. A *remote* fragment
    should be refused beforehand if `beyond_limits` names a problem; here it would be capped.
    """
    limits = limits or Limits()
    merged: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for layer in Layer:
        if layer in layers:
            value = layers[layer]
            merged = merge(merged, value.fragment)
            sources |= dict.fromkeys(flatten(value.fragment), Source(layer, value.since))
    capped = tuple(beyond_limits(merged, limits))
    settings = build(_capped(merged, limits, capped))
    document = as_document(settings)
    base = layers.get(Layer.DEFAULT)
    unset = Source(Layer.DEFAULT, base.since if base else 0.0)
    return Resolved(
        settings, document, {p: sources.get(p, unset) for p in flatten(document)}, capped
    )


def beyond_limits(fragment: Fragment, limits: Limits) -> Iterator[Problem]:
    """What in this fragment exceeds the limits, one problem per key."""
    yield from _levels_beyond(fragment, limits)
    yield from _grants_beyond(fragment, limits)
    held = fragment.get("sampling", {}).get("keep", {}).get("buffer_mib")
    if held is not None and held > limits.buffer_mib:
        most = f"at most {limits.buffer_mib:g} (local limit)"
        yield Problem("sampling.keep.buffer_mib", f"{held:g}", most)
    for name, value in fragment.get("destinations", {}).items():
        for key, found, expected in _destination_beyond(value, limits):
            path = join_path(("destinations", name, key))
            yield Problem(path, found, f"{expected} (local limit)")


def _destination_beyond(value: Fragment, limits: Limits) -> Iterator[tuple[str, str, str]]:
    """Key, what was found, what was expected."""
    for key in ("endpoint", "proxy"):
        host = urlsplit(value.get(key, "")).hostname
        if host and not host_allowed(host, limits):
            hosts = ", ".join(limits.destination_hosts or ()) or "none"
            yield key, host, f"one of the hosts {hosts}"
    yield from _local_beyond(value, limits)
    size = value.get("queue_mib")
    if size is not None and size > limits.queue_mib:
        yield "queue_mib", f"{size:g}", f"at most {limits.queue_mib:g}"


def _local_beyond(value: Fragment, limits: Limits) -> Iterator[tuple[str, str, str]]:
    protocol, path = value.get("protocol", ""), value.get("path", "")
    if protocol in LOCAL and protocol not in (limits.local_sinks or ()):
        yield "protocol", protocol, "one that the limit local_sinks permits"
    folders = limits.file_folders or ()
    if path and not any(lies_in(path, folder) for folder in folders):
        yield "path", path, f"a file in one of the folders {', '.join(folders) or 'none'}"


def forbidden_keys(fragment: Fragment, limits: Limits) -> Iterator[Problem]:
    """Keys of a remote fragment that the limits keep to the local side, and secrets it may not name."""
    yield from _references_beyond(fragment, limits)
    allowed = limits.remote_keys
    for path in flatten(fragment) if allowed is not None else ():
        if not any(_covers(prefix, path) for prefix in allowed or ()):
            keys = ", ".join(allowed or ()) or "none"
            yield Problem(
                path, "a remote value", f"only these keys to be set remotely: {keys} (local limit)"
            )


def _references_beyond(fragment: Fragment, limits: Limits) -> Iterator[Problem]:
    """A reference has a secret of this machine sent somewhere, or used as a key."""
    allowed = limits.references
    for path, value in flatten(fragment).items() if allowed is not None else ():
        named = isinstance(value, str) and value.startswith(("env:", "file:"))
        fits = named and any(fnmatchcase(value, pattern) for pattern in allowed or ())
        if named and (not fits or ".." in value.split("/")):
            listed = ", ".join(allowed or ()) or "none"
            yield Problem(path, value, f"one of the references {listed} (local limit)")


def host_allowed(host: str, limits: Limits) -> bool:
    """Whether telemetry may go to this host."""
    if limits.destination_hosts is None:
        return True
    return any(_matches_host(pattern.lower(), host.lower()) for pattern in limits.destination_hosts)


def build(fragment: Fragment) -> Settings:
    """A validated fragment as a value; absent keys get their defaults."""
    built: Settings = _build(Settings, fragment)
    return built


def as_document(settings: Settings) -> dict[str, Any]:
    """A value as a nested document with every key that has a value."""
    document: dict[str, Any] = _plain(settings)
    return document


_LEVELS = frozenset({"level", *PARTS})


def _levels_beyond(fragment: Fragment, limits: Limits) -> Iterator[Problem]:
    """Capture levels above the limit: of all calls, of parts, of rules, of grants."""
    for path, value in flatten({"capture": fragment.get("capture", {})}).items():
        is_level = split_path(path)[-1] in _LEVELS and value is not None
        if is_level and CaptureLevel(value).rank > limits.capture_level.rank:
            yield Problem(path, value, f"at most {limits.capture_level} (local limit)")


def _grants_beyond(fragment: Fragment, limits: Limits) -> Iterator[Problem]:
    """Grants that would run longer than the limit, or whose level, if none is given, is above it."""
    for name, grant in fragment.get("capture", {}).get("grants", {}).items():
        path = ("capture", "grants", name)
        if grant.get("longest_s", 0) > limits.grant_longest_s:
            longest = f"at most {limits.grant_longest_s:g} (local limit)"
            yield Problem(join_path((*path, "longest_s")), grant["longest_s"], longest)
        if "level" not in grant and limits.capture_level is not CaptureLevel.FULL:
            highest = f"at most {limits.capture_level} (local limit)"
            yield Problem(join_path((*path, "level")), str(CaptureLevel.FULL), highest)


def _capped(fragment: Fragment, limits: Limits, beyond: Iterable[Problem]) -> Fragment:
    capped = dict(fragment)
    if fragment.get("capture", {}).get("level") is None:
        default = min(CaptureLevel.METADATA, limits.capture_level, key=lambda item: item.rank)
        capped = merge(capped, {"capture": {"level": str(default)}})
    if limits.buffer_mib < KeepRules().buffer_mib:
        capped = merge(_at(("sampling", "keep", "buffer_mib"), limits.buffer_mib), capped)
    for problem in beyond:
        names = split_path(problem.path)
        if names[-1] == "queue_mib":  # what holds without an opinion is the process's own
            capped = without(capped, problem.path)
        elif names[0] == "destinations":
            capped = merge(capped, {"destinations": {names[1]: {"enabled": False}}})
        elif names[-1] == "buffer_mib":
            capped = merge(capped, _at(names, limits.buffer_mib))
        elif names[-1] == "longest_s":
            capped = merge(capped, _at(names, limits.grant_longest_s))
        else:
            capped = merge(capped, _at(names, str(limits.capture_level)))
    return capped


def _at(names: tuple[str, ...], value: Any) -> Fragment:
    """A fragment that says one thing."""
    for name in reversed(names):
        value = {name: value}
    fragment: Fragment = value
    return fragment


def _covers(prefix: str, path: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}.")


def _matches_host(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _build(kind: type[Any], fragment: Fragment) -> Any:
    """Nested mappings to nested dataclasses, by the dataclass's own annotations."""
    hints = _hints(kind)
    return kind(**{name: _convert(hints[name], value) for name, value in fragment.items()})


def _convert(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if typing.get_origin(hint) is types.UnionType:
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type[Any]", hint), value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(value)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Mapping:
        return {name: _convert(args[1], item) for name, item in value.items()}
    if origin is tuple:
        return tuple(value)
    return float(value) if hint is float else value


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(kind: type[Any]) -> dict[str, Any]:
    if kind not in _HINTS:
        _HINTS[kind] = typing.get_type_hints(kind)
    return _HINTS[kind]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        found = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {name: _plain(item) for name, item in found.items() if item is not None}
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def active_destinations(settings: Settings) -> dict[str, Destination]:
    """The destinations that are switched on and have an address."""
    return {n: d for n, d in settings.destinations.items() if d.enabled and place(d)}
