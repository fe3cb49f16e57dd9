"""A program that forks by hand, in the worst moments."""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import Any

import llm_observe
from tests.processes.programs.work import ask, open_stream, say


def wait_for(*children: int) -> None:
    say([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])


def exits() -> None:
    """The child ends as programs do, the grandchild by `os._exit` after a flush."""
    child = os.fork()
    if child:
        ask(1, "parent")
        wait_for(child)
        return
    ask(1, "child")
    grandchild = os.fork()
    if grandchild:
        os.waitpid(grandchild, 0)
        sys.exit(4)
    ask(1, "grandchild")
    os._exit(0 if llm_observe.flush(20.0) else 9)


def outlives() -> None:
    """The parent is killed, the child lives on."""
    say(llm_observe.observe().instance_id)
    sys.stdin.readline()  # the parent's connection stands
    child = os.fork()
    if child == 0:
        say(llm_observe.observe().instance_id)
        sys.stdin.readline()
        sys.exit(0)
    os.waitpid(child, 0)


def in_a_stream() -> None:
    """The child drops its copy of a stream under way; the parent finishes it."""
    stream = open_stream("parent's stream")
    child = os.fork()
    if child == 0:
        del stream
        gc.collect()
        ask(1, "child")
        sys.exit(0)
    for _ in stream:
        pass
    wait_for(child)


def in_a_block() -> None:
    """The child leaves a `with` block that its parent entered."""
    with llm_observe.trace("outer"):
        child = os.fork()
        if child == 0:
            ask(1, "child")
            sys.exit(0)
    wait_for(child)


def under_load() -> None:
    """Forks while four threads are anywhere inside of us."""
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            ask(1, "load")
            llm_observe.flush(0.001)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(12):
        child = os.fork()
        if child == 0:
            ask(2, "child")
            sys.exit(0)
        children.append(child)
    wait_for(*children)
    stop.set()
    for thread in threads:
        thread.join()


def holding_every_lock() -> None:
    """Forks while another thread holds each lock of ours that it can find."""
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        locks = {n: lock for n, lock in _locks().items() if lock.acquire(timeout=1.0)}
        say(sorted(locks))
        held.set()
        forked.wait()
        for lock in locks.values():
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        ask(2, "child")
        sys.exit(0)
    forked.set()
    thread.join()
    wait_for(child)


def _locks() -> dict[str, Any]:
    """Every lock that an object or a module of ours refers to, those of imports excepted."""
    kinds = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
    owners = [o for o in gc.get_objects() if _is_ours(o)]
    found: dict[str, Any] = {}
    for owner in owners:
        for name, value in list(vars(owner).items()):
            if isinstance(value, kinds) and name not in {"_LOADING", "_unspoken", "_spoken"}:
                found[f"{type(owner).__name__}.{name} {id(value)}"] = value
    return found


def _is_ours(candidate: object) -> bool:
    module = getattr(candidate, "__name__", "") if type(candidate) is type(os) else ""
    name = module or type(candidate).__module__
    return (
        isinstance(name, str) and name.startswith("llm_observe.") and hasattr(candidate, "__dict__")
    )


if __name__ == "__main__":
    llm_observe.observe()
    ask(1)
    globals()[sys.argv[1]]()
