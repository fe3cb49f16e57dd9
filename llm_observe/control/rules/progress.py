"""How far a version has come. Pure.

Whoever went silent *after* the version was made keeps it pending: it may still run on the old
settings. A process that said goodbye, or was lost before, holds nothing up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llm_observe.control.rules.arrived import problems_of
from llm_observe.control.rules.model import (
    Acknowledged,
    AckState,
    AgentProgress,
    AgentProgressState,
    Desired,
    Presence,
    Progress,
    ProgressState,
    Version,
)
from llm_observe.control.rules.record import AgentRecord

_SAID = {
    AckState.APPLIED: AgentProgressState.ACKNOWLEDGED,
    AckState.FAILED: AgentProgressState.REFUSED,
}


@dataclass(frozen=True, slots=True)
class Target:
    """An agent that a version is for: what that version wanted of it, and what is wanted now."""

    record: AgentRecord
    then: Desired
    now: Desired

    @property
    def still_wanted(self) -> bool:
        """Whether what the version asked for is what is wanted now."""
        return self.then.hash == self.now.hash


Said = Mapping[tuple[str, str], Acknowledged]


def progress(version: Version, targets: Iterable[Target], said: Said, superseded: bool) -> Progress:
    """Fold the agents' words about a version.

    Args:
        version: The version.
        targets: The agents it is for.
        said: The last word of each (uid, hash) since the version was made.
        superseded: Whether its scope has a newer version.
    """
    rows = [row for t in targets if (row := _row(version, t, said)) is not None]
    return Progress(version.version, _overall(rows, superseded), [agent for agent, _ in rows])


def _overall(rows: list[tuple[AgentProgress, bool]], superseded: bool) -> ProgressState:
    states = {row.state for row, counts in rows if counts}
    if AgentProgressState.REFUSED in states:
        return ProgressState.REFUSED
    if states == {AgentProgressState.ACKNOWLEDGED}:
        return ProgressState.ACKNOWLEDGED
    if superseded:
        return ProgressState.SUPERSEDED
    return ProgressState.PENDING if states else ProgressState.NO_AGENTS


def _row(version: Version, target: Target, said: Said) -> tuple[AgentProgress, bool] | None:
    """One agent's part, and whether the version as a whole waits for it."""
    record, word = target.record, _word(target, said)
    state = _SAID.get(word.state) if word else None
    if state is None:
        return _silent(version, target)
    row = AgentProgress(
        record.uid, record.service, state, word.at if word else None,
        word.error if word else "", problems_of(word.error) if word else (),
    )  # fmt: skip
    return row, True


def _word(target: Target, said: Said) -> Acknowledged | None:
    now = target.record.acknowledged
    if target.still_wanted and now.hash == target.then.hash:
        return now
    return None if target.still_wanted else said.get((target.record.uid, target.then.hash))


def _silent(version: Version, target: Target) -> tuple[AgentProgress, bool] | None:
    record = target.record
    if record.presence is Presence.STOPPED or record.first_seen > _last_chance(version, target):
        return None
    here = record.presence is Presence.CONNECTED
    state = AgentProgressState.PENDING if here else AgentProgressState.OFFLINE
    error = (
        ""
        if target.still_wanted
        else f"replaced by version {target.now.version} before it answered"
    )
    lost_since = not here and record.since >= version.at
    return AgentProgress(record.uid, record.service, state, error=error), here or lost_since


def _last_chance(version: Version, target: Target) -> float:
    """Until when an agent could have been asked for this version."""
    if target.still_wanted or target.now.since is None:
        return float("inf")
    return max(target.now.since, version.at)
