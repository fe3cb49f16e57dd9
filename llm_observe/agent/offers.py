"""Is an offered configuration acceptable? A pure judgement, made before anything is changed.

All or nothing: one wrong key and nothing of the offer is taken (see the design's rule
"all or nothing, but privacy first").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from llm_observe.errors import Problem, SettingsError
from llm_observe.policy import rules
from llm_observe.settings.documents import Fragment, diff, flatten, join_path, merge, nest, without
from llm_observe.settings.layers import (
    Resolved,
    as_document,
    beyond_limits,
    build,
    forbidden_keys,
)
from llm_observe.settings.model import Limits, Settings
from llm_observe.settings.places import place
from llm_observe.settings.schema import parse, validate
from llm_observe.tracing.wrapping import instrument

ENTRY = "llm-observe"
"""Name of the entry in OpAMP's config map that holds our settings."""


class File(Protocol):
    """One entry of an OpAMP config map."""

    @property
    def body(self) -> bytes:
        """The entry's bytes."""

    @property
    def content_type(self) -> str:
        """Its MIME type, or an empty string."""


def read_offer(files: Mapping[str, File], limits: Limits) -> dict[str, Any]:
    """The offered fragment, checked against schema and local limits.

    Raises:
        SettingsError: One problem per wrong key, or per entry that is not ours.
    """
    unknown = sorted(name for name in files if name not in {ENTRY, ""})
    if unknown or len(files) > 1:
        raise SettingsError(
            Problem(f"config map entry {name!r}", "an unknown entry", f"only {ENTRY!r}")
            for name in unknown or sorted(files)
        )
    fragment: dict[str, Any] = {}
    for file in files.values():
        fragment = parse(file.body, file.content_type)
    validate(fragment)
    problems = [*forbidden_keys(fragment, limits), *beyond_limits(fragment, limits)]
    problems += rules.problems(build(fragment).redaction)
    problems += unknown_libraries(fragment)
    if problems:
        raise SettingsError(problems)
    return fragment


def unknown_libraries(fragment: Fragment) -> Iterator[Problem]:
    """Switches of client libraries that this version cannot record anyway."""
    known = instrument.known()
    for name in fragment.get("instrumentation", {}).get("providers", {}):
        if name not in known:
            path = join_path(("instrumentation", "providers", name))
            yield Problem(path, "an unknown client library", f"one of {', '.join(known)}")


def held_fragment(before: Resolved, in_force: Settings, remote: Fragment) -> dict[str, Any]:
    """The remote layer after an offer that was refused half-way.

    What was tightened before the refusal stays in force, so it becomes part of the remote
    layer: a restart must not loosen it again.
    """
    changed = diff(before.document, as_document(in_force))
    held = dict(remote)
    for change in changed:
        if change.after is None:
            held = without(held, change.path)
    return merge(held, nest({c.path: c.after for c in changed if c.after is not None}))


def keep_ages(new: Resolved, old: Resolved) -> Resolved:
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


def new_problems(resolved: Resolved, before: Resolved) -> list[Problem]:
    """Destinations that the offer leaves without an address.

    They can only be told from the merged document: a fragment may set one key of a destination
    whose endpoint another layer holds.
    """
    old = before.settings.destinations
    return [
        Problem(join_path(("destinations", name, key)), "nothing", expected)
        for name, destination in resolved.settings.destinations.items()
        if destination.enabled and not place(destination) and name not in old
        for key, expected in (_WHERE.get(destination.protocol, _ENDPOINT),)
    ]


_ENDPOINT = ("endpoint", "an http:// or https:// URL")
_WHERE = {"file": ("path", "an absolute path of a file in a folder that the limits permit")}
