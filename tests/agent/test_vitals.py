"""What is read of a process, against what the system says of it elsewhere."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from llm_observe.agent import vitals

linux = pytest.mark.skipif(not vitals.PROC.exists(), reason="needs /proc")


def test_cpu_time_is_that_of_this_process_and_grows_with_work() -> None:
    before = vitals.look()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    now = vitals.look()
    assert before.cpu_s < now.cpu_s <= time.process_time() + 0.05
    assert now.at_ns > before.at_ns
    assert (now.voluntary_switches or 0) >= (before.voluntary_switches or 0)


@linux
def test_memory_threads_and_descriptors_follow_what_the_process_does() -> None:
    before = vitals.look()
    held = b"x" * (64 << 20)
    reader, writer = os.pipe()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        now = vitals.look()
    finally:
        stop.set()
        thread.join()
        os.close(reader)
        os.close(writer)
    assert None not in (now.memory_bytes, now.virtual_bytes, now.minor_faults, now.major_faults)
    assert (now.memory_bytes or 0) - (before.memory_bytes or 0) > len(held) * 0.9
    assert (now.virtual_bytes or 0) > (now.memory_bytes or 0)
    assert now.threads == (before.threads or 0) + 1
    assert now.descriptors == (before.descriptors or 0) + 2


@linux
def test_the_age_of_a_process_is_counted_from_its_own_start_also_after_a_fork() -> None:
    own = vitals.look().uptime_s or 0.0
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, repr(vitals.look().uptime_s).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = float(os.read(reader, 100))
    os.close(reader)
    os.close(writer)
    assert own > 0.1
    assert child < own


def test_where_the_system_tells_nothing_nothing_is_made_up(tmp_path: Path) -> None:
    (tmp_path / "statm").write_text("")
    (tmp_path / "stat").write_text("1 (a) b) S 1")
    seen = vitals.look(tmp_path)
    told = (seen.uptime_s, seen.memory_bytes, seen.virtual_bytes, seen.threads, seen.descriptors)
    assert told == (None,) * 5
    assert seen.user_s >= 0


def test_utilization_is_the_share_of_all_cpus_that_it_may_use() -> None:
    first = vitals.Vitals(at_ns=0, user_s=1.0, system_s=1.0, cpus=4)
    later = replace(first, at_ns=10_000_000_000, user_s=5.0, system_s=2.0)
    assert later.utilization(first) == pytest.approx(5 / 10 / 4)
    assert first.utilization(later) is None
    assert replace(later, user_s=0.0).utilization(first) == 0.0
