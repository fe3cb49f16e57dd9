"""How long to wait before the next attempt, as a generator; chance is passed in.

The first delay is 0: a broken line is first restored at once (OpAMP, "Restoring WebSocket
Connection"), and only then by exponential backoff with jitter ("Establishing Connection").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

INITIAL_S = 0.5
LONGEST_S = 30.0
MAX_RETRY_AFTER_S = 3600.0
"""A server's hint beyond this is taken as this: an agent must not be silenced for days."""


def backoff(
    chance: Callable[[], float], *, initial_s: float = INITIAL_S, longest_s: float = LONGEST_S
) -> Iterator[float]:
    """Yield delays in seconds, without end: 0, then doubling, each between half and whole.

    ``chance`` returns numbers from 0 to 1, such as `random.random`.
    """
    yield 0.0
    ceiling = initial_s
    while True:
        yield ceiling * (0.5 + chance() / 2)
        ceiling = min(ceiling * 2, longest_s)


def respecting(delay_s: float, retry_after_s: float | None, chance: Callable[[], float]) -> float:
    """The delay, at least as long as the server asked for, spread so that not all come at once."""
    if retry_after_s is None:
        return delay_s
    asked = min(max(retry_after_s, 0.0), MAX_RETRY_AFTER_S)
    return max(delay_s, asked * (1 + chance() / 10))
