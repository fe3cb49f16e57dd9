"""An offered connection and crashes at every step, as a Hypothesis state machine."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llm_observe.opamp import candidate
from llm_observe.opamp.candidate import Record
from llm_observe.opamp.connections import ConnectionSettings
from llm_observe.opamp.values import ConfigState
from tests.opamp.test_candidate import BASE, STRICT, B, C
from tests.opamp.test_candidate import offer as make


class Crashing(RuleBasedStateMachine):
    """Offers, outcomes and crashes in any order; what is on disk is all that survives."""

    def __init__(self) -> None:
        super().__init__()
        self.record = Record()
        self.disk = candidate.to_bytes(self.record)
        self.worked: list[ConnectionSettings | None] = [None]
        self.hashes = 0

    def keep(self, record: Record) -> None:
        self.disk = candidate.to_bytes(record)  # saved before it is acted on
        self.record = record

    @rule(opamp=st.sampled_from([B, C, None]), rest=st.booleans())
    def offer(self, opamp: ConnectionSettings | None, rest: bool) -> None:
        if opamp is None and not rest:
            return
        self.hashes += 1
        in_use = BASE if self.record.wanted is None else self.record.wanted.endpoint
        told = make(bytes([self.hashes % 256]), opamp, rest)
        self.keep(candidate.offered(self.record, told, in_use, STRICT))

    @precondition(lambda self: self.record.candidate is not None)
    @rule()
    def works(self) -> None:
        self.worked.append(self.record.candidate)
        self.keep(candidate.verified(self.record))

    @precondition(lambda self: self.record.candidate is not None)
    @rule()
    def fails(self) -> None:
        self.keep(candidate.failed(self.record, "no"))

    @rule(error=st.sampled_from(["", "no"]))
    def rest(self, error: str) -> None:
        told = candidate.rest_settled(self.record, self.record.status.hash, [error])
        self.keep(told)

    @rule(opamp=st.sampled_from([B, C]))
    def crashes_before_the_save(self, opamp: ConnectionSettings) -> None:
        candidate.offered(self.record, make(b"lost", opamp), BASE, STRICT)
        self.crashes()

    @rule()
    def crashes(self) -> None:
        self.record = candidate.resumed(candidate.from_bytes(self.disk))

    @invariant()
    def only_what_worked_is_in_use(self) -> None:
        assert self.record.active in self.worked

    @invariant()
    def applied_means_that_nothing_is_under_way(self) -> None:
        if self.record.status.state in (ConfigState.APPLIED, ConfigState.FAILED):
            assert self.record.candidate is None
            assert not self.record.rest_waits
        if self.record.status.state is ConfigState.FAILED:
            assert self.record.status.error

    @invariant()
    def a_crash_now_leads_to_a_connection_that_worked_or_is_being_tried(self) -> None:
        after = candidate.resumed(candidate.from_bytes(self.disk))
        assert after.active in self.worked
        assert after.wanted in (*self.worked, B, C)


TestCrashing = Crashing.TestCase
