"""The agents and what is wanted of them, in memory: the one place where the two meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llm_observe.control.rules import desired as rules
from llm_observe.control.rules import plan
from llm_observe.control.rules.model import AgentSummary, Desired, Presence, Scope, Version
from llm_observe.control.rules.progress import Target
from llm_observe.control.rules.record import AgentRecord
from llm_observe.control.rules.views import summary

_Memo = dict[tuple[int, ...], Desired]
"""What is wanted by the versions of the heads that mean an agent."""


class Roster:
    """Agents by uid and the newest version of each scope. Used on the event loop only."""

    def __init__(self, schema_hash: str) -> None:
        self.schema_hash = schema_hash
        self._agents: dict[str, AgentRecord] = {}
        self._heads: dict[str, Version] = {}
        self._memo: _Memo = {}
        self._rows: dict[str, AgentSummary] = {}

    # agents

    def get(self, uid: str) -> AgentRecord | None:
        """One agent."""
        return self._agents.get(uid)

    def put(self, record: AgentRecord) -> None:
        """Replace one agent's record."""
        self._agents[record.uid] = record
        self._rows.pop(record.uid, None)

    def remove(self, uid: str) -> None:
        """Forget one agent."""
        self._agents.pop(uid, None)
        self._rows.pop(uid, None)

    def __iter__(self) -> Iterator[AgentRecord]:
        return iter(list(self._agents.values()))

    def __len__(self) -> int:
        return len(self._agents)

    def matching(self, scope: Scope) -> list[AgentRecord]:
        """The agents that a scope is for."""
        return [r for r in self if rules.matches(scope, r.description.identifying)]

    # what is wanted

    def head(self, scope: Scope) -> Version | None:
        """The newest version of a scope."""
        return self._heads.get(repr(scope))

    def set_head(self, version: Version) -> None:
        """A scope has a new newest version."""
        self._heads[repr(version.scope)] = version
        self._memo.clear()
        self._rows.clear()

    @property
    def heads(self) -> list[Version]:
        """The newest version of each scope."""
        return list(self._heads.values())

    def heads_with(self, version: Version) -> list[Version]:
        """The heads as they would be with one more version."""
        others = [head for head in self.heads if head.scope != version.scope]
        return [*others, version]

    def desired(self, record: AgentRecord) -> Desired:
        """What is wanted of an agent now."""
        return self._desired(record, self._heads.values(), self._memo)

    def desired_by(
        self, records: Iterable[AgentRecord], heads: Sequence[Version]
    ) -> dict[str, Desired]:
        """What would be wanted of agents with other heads, by uid."""
        memo: _Memo = {}
        return {record.uid: self._desired(record, heads, memo) for record in records}

    def _desired(self, record: AgentRecord, heads: Iterable[Version], memo: _Memo) -> Desired:
        """Made once for all agents that know the whole schema and are meant by the same heads."""
        if record.schema_hash != self.schema_hash or plan.refusal(record):
            return plan.desired(record, heads, self.schema_hash)
        found = [h for h in heads if rules.matches(h.scope, record.description.identifying)]
        key = tuple(head.version for head in found)
        if key not in memo:
            memo[key] = plan.desired(record, found, self.schema_hash)
        return memo[key]

    def summaries(self) -> list[AgentSummary]:
        """One row per agent: connected ones first, by service, newest first.

        Every page asks for them. A row is remembered until the agent, or what is wanted, changes.
        """
        for uid in self._agents.keys() - self._rows.keys():
            record = self._agents[uid]
            self._rows[uid] = summary(record, self.desired(record))
        return sorted(self._rows.values(), key=order)

    def targets(self, version: Version, heads_then: Sequence[Version]) -> list[Target]:
        """The agents that a version is for, with what was wanted then and is wanted now."""
        meant = [r for r in self.matching(version.scope) if not plan.refusal(r)]
        then = self.desired_by(meant, heads_then)
        return [Target(record, then[record.uid], self.desired(record)) for record in meant]

    def connected(self) -> list[AgentRecord]:
        """The agents whose line stands."""
        return [record for record in self if record.presence is Presence.CONNECTED]


def order(row: AgentSummary) -> tuple[bool, str, float, str]:
    """How agents are sorted in lists."""
    return (not row.connected, row.service, -row.first_seen, row.uid)
