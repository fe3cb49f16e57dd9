import threading
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.policy.rate import Bucket


def test_a_full_bucket_holds_one_second_and_fills_at_its_rate() -> None:
    bucket = Bucket(3)
    assert [bucket.take(100.0) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.take(100.4) for _ in range(2)] == [True, False]
    assert [bucket.take(200.0) for _ in range(5)] == [True, True, True, False, False]


def test_less_than_one_a_second_is_one_in_some_seconds() -> None:
    bucket = Bucket(0.1)
    assert [second for second in range(31) if bucket.take(1000.0 + second)] == [0, 10, 20, 30]


@given(
    st.floats(0.1, 100),
    st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_no_stretch_of_time_has_more_than_its_rate_and_one_second_allow(
    per_second: float, gaps: list[float]
) -> None:
    bucket, moments = Bucket(per_second), [*accumulate(gaps, initial=50.0)]
    taken = [now for now in moments if bucket.take(now)]
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            allowed = per_second * (taken[last] - taken[first]) + max(1.0, per_second)
            assert last - first + 1 <= allowed + 1e-6


def test_it_tells_for_a_second_that_it_refused() -> None:
    bucket = Bucket(1)
    assert bucket.take(10.0)
    assert not bucket.scarce(10.0)
    assert not bucket.take(10.5)
    assert bucket.scarce(11.4)
    assert not bucket.scarce(11.6)


@pytest.mark.parametrize("threads", [8])
def test_many_threads_together_get_no_more(threads: int) -> None:
    bucket, got = Bucket(100), list[bool]()

    def ask() -> None:
        got.extend([bucket.take(1.0) for _ in range(50)])

    askers = [threading.Thread(target=ask) for _ in range(threads)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(30)
    assert sum(got) == 100
