"""Children that are started, watched and stopped together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llm_observe.cli.processes import (
    Child,
    ChildDied,
    ChildSilent,
    Program,
    answers,
    port_taken,
    report,
)

DEADLINE_S = 60.0

SERVER = """
import http.server, json, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"engine": "none"}).encode()
        self.send_response(200 if self.path == "/ok" else 503)
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("127.0.0.1", 0), H)
print(server.server_port, flush=True)
server.serve_forever()
"""


def program(code: str, url: str = "http://127.0.0.1:1/", deadline_s: float = 60.0) -> Program:
    return Program("thing", [sys.executable, "-c", code], os.environ, url, deadline_s)


@contextmanager
def started(plan: Program, folder: Path) -> Iterator[Child]:
    child = Child.start(plan, folder / "thing.log")
    try:
        yield child
    finally:
        child.stop(0.0)


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_ready_when_it_answers_and_what_it_says_can_be_read(tmp_path: Path) -> None:
    with started(program(SERVER), tmp_path) as child:
        until(lambda: child.tail().strip().isdigit())
        base = f"http://127.0.0.1:{child.tail().strip()}"
        assert answers(f"{base}/ok")
        assert not answers(f"{base}/broken")
        assert report(f"{base}/ok") == {"engine": "none"}
        assert report(f"{base}/broken") == {}


def test_one_that_dies_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    with started(program("print('the reason'); raise SystemExit(3)"), tmp_path) as child:
        child.process.wait(DEADLINE_S)
        with pytest.raises(ChildDied, match=r"(?s)ended with 3.*the reason"):
            child.ready()


def test_one_that_was_killed_is_reported_by_its_signal(tmp_path: Path) -> None:
    with started(program("import time; time.sleep(60)"), tmp_path) as child:
        child.signal(signal.SIGKILL)
        child.process.wait(DEADLINE_S)
        with pytest.raises(ChildDied, match="signal 9"):
            child.check()


def test_one_that_never_answers_is_overdue(tmp_path: Path) -> None:
    plan = program("import time; print('still here', flush=True); time.sleep(60)", deadline_s=0.0)
    with started(plan, tmp_path) as child, pytest.raises(ChildSilent, match="does not answer"):
        child.ready()


def test_stopping_ends_what_the_child_started_too(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(inner.pid, flush=True)\ntime.sleep(60)"
    )
    with started(program(code), tmp_path) as child:
        until(lambda: child.tail().strip().isdigit())
        inner = int(child.tail())
        child.stop(DEADLINE_S)
    until(lambda: gone(inner))


def test_one_that_does_not_listen_to_sigterm_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    with started(program(code), tmp_path) as child:
        until(lambda: "ready" in child.tail())
        child.stop(0.2)
        assert child.process.returncode == -signal.SIGKILL


def test_a_hurry_cuts_the_patience_short(tmp_path: Path) -> None:
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    with started(program(code), tmp_path) as child:
        until(lambda: "ready" in child.tail())
        child.stop(3600.0, hurry=lambda: True)
        assert child.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_children_end_when_the_parent_is_killed_outright(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from llm_observe.cli.processes import Child, Program\n"
        "plan = Program('inner', [sys.executable, '-c', 'import time; time.sleep(60)'], os.environ, '')\n"
        "child = Child.start(plan, Path(sys.argv[1]))\n"
        "print(child.process.pid, flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "inner.log")], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        inner = int(parent.stdout.readline())
        parent.kill()
    until(lambda: gone(inner))


def test_a_taken_port_is_told_from_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert port_taken(port)
    assert not port_taken(port)
