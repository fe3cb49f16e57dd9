"""A program with `multiprocessing` children: arguments are the start method and what they do."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import llm_observe
from tests.processes.programs.work import ask, say


def returns(_: Any = None) -> None:
    llm_observe.observe()
    ask(2)


def exits() -> None:
    returns()
    sys.exit(5)


def raises() -> None:
    returns()
    raise RuntimeError("the child's own")


def leaves_a_thread() -> None:
    returns()

    def late() -> None:
        time.sleep(0.3)
        ask(1, "after the child's function")

    threading.Thread(target=late).start()


def waits(ready: Any = None, go: Any = None) -> None:
    returns()
    ready.release()
    go.wait(60)


def waits_and_asks(ready: Any, go: Any) -> None:
    waits(ready, go)
    ask(1, "under the new settings")


def processes(target: Any) -> None:
    children = [multiprocessing.Process(target=target) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    say([child.exitcode for child in children])


def held(target: Any, end: Any) -> None:
    """Children that wait until the test has a look at them."""
    ready, go = multiprocessing.Semaphore(0), multiprocessing.Event()
    children = [multiprocessing.Process(target=target, args=(ready, go)) for _ in range(2)]
    for child in children:
        child.start()
    for _ in children:
        ready.acquire()
    say("ready")
    sys.stdin.readline()
    end(children, go)
    for child in children:
        child.join()
    say([child.exitcode for child in children])


def terminate(children: Any, go: Any) -> None:
    for child in children:
        child.terminate()


def let_go(children: Any, go: Any) -> None:
    ask(1, "under the new settings")
    go.set()


def pool(*, closed: bool) -> None:
    with multiprocessing.Pool(2) as workers:
        workers.map(returns, range(4), chunksize=1)
        if closed:
            workers.close()
            workers.join()


def executor() -> None:
    with ProcessPoolExecutor(2) as workers:
        list(workers.map(returns, range(4)))


KINDS: dict[str, Any] = {
    "returns": lambda: processes(returns),
    "exits": lambda: processes(exits),
    "raises": lambda: processes(raises),
    "leaves_a_thread": lambda: processes(leaves_a_thread),
    "terminated": lambda: held(waits, terminate),
    "acknowledges": lambda: held(waits_and_asks, let_go),
    "pool": lambda: pool(closed=False),
    "closed_pool": lambda: pool(closed=True),
    "executor": executor,
}

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    llm_observe.observe()
    ask(1)
    KINDS[sys.argv[2]]()
