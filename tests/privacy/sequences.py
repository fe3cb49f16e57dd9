"""Whether forbidden content ever leaves: random sequences through the real pipeline and agent.

::

    python -m tests.privacy.sequences 10000          # sequences 0 to 9999
    python -m tests.privacy.sequences 1 --from 4711  # one of them

Each leak is printed with the number of its sequence and the shortest sequence found that still leaks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.privacy.actions import Action, sequence, shorter
from tests.privacy.receivers import Post
from tests.privacy.world import Leak, run


@dataclass
class Tally:
    """What many sequences came to."""

    sequences: int = 0
    actions: int = 0
    acknowledged: int = 0
    refused: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    laid: set[str] = field(default_factory=set)
    leaks: dict[int, list[Leak]] = field(default_factory=dict)


def tally(count: int, first: int = 0, *, stop_at_leak: bool = False) -> Tally:
    """Run these sequences."""
    found = Tally()
    with Post("ABC") as post:
        for seed in range(first, first + count):
            actions = sequence(seed)
            outcome = run(post, actions)
            found.sequences, found.actions = found.sequences + 1, found.actions + len(actions)
            found.acknowledged += outcome.acknowledged
            found.refused += outcome.refused
            found.seen += outcome.seen
            found.laid |= outcome.laid
            if outcome.leaks:
                found.leaks[seed] = outcome.leaks
                if stop_at_leak:
                    break
    return found


def shortest(seed: int) -> list[Action]:
    """The shortest sequence found that still leaks on the same path."""
    with Post("ABC") as post:
        paths = {leak.path for leak in run(post, sequence(seed)).leaks}

        def leaks(actions: Sequence[Action]) -> bool:
            return any(leak.path in paths for leak in run(post, actions).leaks)

        return shorter(sequence(seed), leaks)


def main(arguments: Sequence[str]) -> int:
    """Non-zero if anything leaked."""
    parser = argparse.ArgumentParser(prog="python -m tests.privacy.sequences")
    parser.add_argument("count", type=int)
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first number")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    found = tally(given.count, given.first)
    for seed, leaks in found.leaks.items():
        print(f"sequence {seed} leaks: {'; '.join(sorted({str(leak) for leak in leaks}))}")
        print("  shortest:", *shortest(seed), sep="\n    ")
    print(
        f"{found.sequences} sequences, {found.actions} actions, {found.acknowledged} changes"
        f" acknowledged, {found.refused} refused, {found.seen.total()} canaries on"
        f" {len(found.seen)} paths seen where they may be, {len(found.leaks)} sequences leak,"
        f" {time.monotonic() - began:.0f} s"
    )
    return bool(found.leaks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
