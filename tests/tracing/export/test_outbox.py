"""The promise of the outbox: what was accepted stays until it is counted out."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llm_observe.tracing.export.outbox import Outbox

MOST_ITEMS, MOST_BYTES = 6, 40


class OutboxMachine(RuleBasedStateMachine):
    """Every item that was accepted is in exactly one place: inside, acknowledged or gone."""

    def __init__(self) -> None:
        super().__init__()
        self.box: Outbox[int] = Outbox(MOST_ITEMS, MOST_BYTES)
        self.sizes: dict[int, int] = {}
        self.inside: list[int] = []
        self.hand: tuple[int, ...] = ()
        self.next = 0

    @rule(size=st.integers(1, 50))
    def offer(self, size: int) -> None:
        item, self.next = self.next, self.next + 1
        held = [*self.inside, *self.hand]
        fits = len(held) < MOST_ITEMS and sum(self.sizes[i] for i in held) + size <= MOST_BYTES
        assert self.box.offer(item, size) is fits
        if fits:
            self.sizes[item] = size
            self.inside.append(item)

    @precondition(lambda self: not self.hand)
    @rule(items=st.integers(1, 8), size=st.integers(0, 60))
    def take(self, items: int, size: int) -> None:
        self.hand = self.box.take(items, size)
        assert list(self.hand) == self.inside[: len(self.hand)]
        assert bool(self.hand) is bool(self.inside)
        assert len(self.hand) <= items
        taken = sum(self.sizes[item] for item in self.hand)
        assert taken <= size or len(self.hand) == 1
        self.inside = self.inside[len(self.hand) :]

    @rule(behind=st.booleans())
    def put_back(self, behind: bool) -> None:
        self.box.put_back(behind=behind)
        hand = list(self.hand)
        self.inside = [*self.inside, *hand] if behind else [*hand, *self.inside]
        self.hand = ()

    @rule(arrived=st.booleans())
    def settle(self, arrived: bool) -> None:
        gone = self.box.acknowledge() if arrived else self.box.discard()
        assert gone == len(self.hand)
        self.hand = ()

    @rule()
    def clear(self) -> None:
        assert self.box.clear() == len(self.inside) + len(self.hand)
        self.inside, self.hand = [], ()

    @invariant()
    def counts_what_it_holds(self) -> None:
        held = [*self.inside, *self.hand]
        assert len(self.box) == len(held) <= MOST_ITEMS
        assert self.box.waiting == len(self.inside)
        assert self.box.bytes == sum(self.sizes[item] for item in held) <= MOST_BYTES


TestOutbox = OutboxMachine.TestCase


@given(st.lists(st.booleans(), max_size=30))
def test_items_arrive_in_order_and_once_whatever_fails(outcomes: list[bool]) -> None:
    box: Outbox[int] = Outbox(100, 1000)
    for item in range(10):
        box.offer(item, 1)
    arrived: list[int] = []
    for good in [*outcomes, *[True] * 10]:
        batch = box.take(3, 100)
        if good:
            arrived += batch
            box.acknowledge()
        else:
            box.put_back()
    assert arrived == [*range(10)]
    assert Counter(arrived).most_common(1)[0][1] == 1
