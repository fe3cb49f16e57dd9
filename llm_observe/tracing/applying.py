"""What a change of settings means: what is tighter at once, and what must be tried first. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llm_observe.errors import Problem
from llm_observe.policy.capture import ActiveGrant
from llm_observe.policy.tightening import capture_of_both, redaction_of_both
from llm_observe.settings.layers import active_destinations
from llm_observe.settings.model import Destination, Instrumentation, Settings

Grants = tuple[ActiveGrant, ...]
"""The capture grants that are running."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of `Pipeline.apply`."""

    settings: Settings
    """In force now: the asked ones, or with problems the former ones, tightened."""

    problems: tuple[Problem, ...] = ()
    """Why not all of it is in force; empty if it is."""


def tightened(before: Settings, after: Settings) -> Settings:
    """``before``, less what ``after`` no longer records or sends."""
    return replace(
        before,
        capture=capture_of_both(before.capture, after.capture),
        redaction=redaction_of_both(before.redaction, after.redaction),
        destinations=dict(_remaining(before, after)),
        instrumentation=_less(before.instrumentation, after.instrumentation),
    )


def untried(before: Settings, after: Settings) -> dict[str, Destination]:
    """Destinations that are new, or not as they were."""
    known = active_destinations(before)
    return {
        name: destination
        for name, destination in active_destinations(after).items()
        if known.get(name) != destination
    }


def stuck(names: tuple[str, ...]) -> list[Problem]:
    """The problems of destinations whose request could not be ended."""
    found = "a request under the former settings that could not be ended"
    return [Problem(f"destinations.{name}", found, "none in flight") for name in names]


def _less(before: Instrumentation, after: Instrumentation) -> Instrumentation:
    """What either switches off is off."""
    off = {name: item for name, item in after.providers.items() if not item.enabled}
    enabled = before.enabled and after.enabled
    return replace(before, enabled=enabled, providers={**before.providers, **off})


def _remaining(before: Settings, after: Settings) -> list[tuple[str, Destination]]:
    wanted = active_destinations(after)
    remaining = []
    for name, destination in before.destinations.items():
        if name in wanted:
            signals = tuple(x for x in destination.signals if x in wanted[name].signals)
            remaining.append((name, replace(destination, signals=signals)))
        elif name in after.destinations:
            remaining.append((name, replace(destination, enabled=False)))
    return remaining
