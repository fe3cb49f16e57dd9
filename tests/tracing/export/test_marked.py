"""Sockets found by their mark, and nothing else touched."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_observe.tracing.export import marked

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="sockets are found on Linux only"
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    yield ours, theirs
    ours.close()
    theirs.close()


def mark(sock: socket.socket) -> int:
    number = marked.new_mark()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, number)
    return number


def test_marks_differ() -> None:
    assert len({marked.new_mark() for _ in range(5000)}) == 5000


def test_what_a_marked_socket_had_not_sent_is_thrown_away(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    number = mark(ours)
    assert not marked.gone(number, 0.0)
    sent = fill(ours)
    marked.forget(number)
    ours.close()
    assert marked.gone(number, 1.0)
    received, reset = drained(theirs)
    assert reset
    assert received < sent


def fill(sock: socket.socket) -> int:
    sock.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += sock.send(b"x" * 65536)
    return sent


def drained(sock: socket.socket) -> tuple[int, bool]:
    """Bytes until the end, and whether that was a reset."""
    received = 0
    try:
        while data := sock.recv(1 << 20):
            received += len(data)
    except ConnectionResetError:
        return received, True
    return received, False


def test_other_sockets_go_on(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    mark(ours)
    marked.forget(marked.new_mark())
    ours.send(b"still here")
    assert theirs.recv(20) == b"still here"


def test_locks_that_the_application_holds_on_files_stay(tmp_path: Path) -> None:
    """Closing any copy of a file's descriptor would drop them (fcntl, record locks)."""
    path = tmp_path / "database"
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        marked.forget(marked.new_mark())
        assert marked.gone(marked.new_mark(), 0.0)
        program = (
            "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        )
        ran = subprocess.run(
            [sys.executable, "-c", program, path], capture_output=True, check=False
        )
    assert ran.returncode != 0
    assert b"BlockingIOError" in ran.stderr


def test_descriptors_are_not_leaked(pair: tuple[socket.socket, socket.socket]) -> None:
    number = mark(pair[0])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        marked.forget(number)
        marked.gone(number, 0.0)
    assert len(os.listdir("/proc/self/fd")) == before
