"""One request: what its failures mean, and how long it may take."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.io.posting import Failed, Fate, Poster, fate_of
from tests.opamp.io.http_peer import PROTOBUF, Answer, http_peer
from tests.opamp.io.peers import DEADLINE_S

UID = bytes(range(16))
MESSAGE = opamp_pb2.AgentToServer(instance_uid=UID).SerializeToString()
REPLY = opamp_pb2.ServerToAgent(instance_uid=UID).SerializeToString()


def poster(address: str, answer_s: float = DEADLINE_S) -> Poster:
    return Poster(f"http://{address}", max_message_bytes=10_000, answer_s=answer_s)


@contextmanager
def raw_peer(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A peer that reads a request and then does what a test says with the connection."""

    def run() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(10_000)
                    talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(DEADLINE_S)


@pytest.mark.opamp("H-16")
@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (301, Fate.UNSENT),
        (400, Fate.REFUSED),
        (401, Fate.UNSENT),
        (404, Fate.UNSENT),
        (413, Fate.REFUSED),
        (429, Fate.UNSENT),
        (500, Fate.UNKNOWN),
        (502, Fate.UNKNOWN),
        (503, Fate.UNSENT),
        (504, Fate.UNKNOWN),
    ],
)
def test_a_status_says_whether_the_message_may_have_been_processed(status: int, fate: Fate) -> None:
    assert fate_of(status) is fate
    with http_peer(lambda _: Answer(status)) as (_, address), pytest.raises(Failed) as caught:
        poster(address).post(UID, MESSAGE)
    assert caught.value.fate is fate


def test_an_answer_in_chunks_is_read() -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (REPLY[:3], REPLY[3:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    head += b"Content-Type: application/x-protobuf\r\n\r\n"
    with http_peer(lambda _: Answer(raw=head + chunks + b"0\r\n\r\n")) as (_, address):
        assert poster(address).post(UID, MESSAGE) == REPLY


def test_a_connection_is_kept_for_the_next_request_and_made_anew_when_it_is_gone() -> None:
    with http_peer(lambda _: Answer(body=REPLY)) as (peer, address):
        client = poster(address)
        assert [client.post(UID, MESSAGE) for _ in range(3)] == [REPLY] * 3
        peer.script = lambda _: Answer(headers={**PROTOBUF, "Connection": "close"}, body=REPLY)
        assert [client.post(UID, MESSAGE) for _ in range(3)] == [REPLY] * 3


def test_an_answer_that_trickles_is_given_up_in_time() -> None:
    enough = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        while not enough.wait(0.02):
            connection.sendall(b"\0")

    with raw_peer(trickle) as address:
        client = poster(address, answer_s=0.3)
        with pytest.raises(Failed, match="in time") as caught:
            client.post(UID, MESSAGE)
        enough.set()
    assert caught.value.fate is Fate.UNKNOWN


def test_a_peer_that_says_nothing_is_given_up_in_time() -> None:
    enough = threading.Event()

    def silence(connection: socket.socket) -> None:
        enough.wait(DEADLINE_S)

    with raw_peer(silence) as address:
        client = poster(address, answer_s=0.2)
        with pytest.raises(Failed, match="in time") as caught:
            client.post(UID, MESSAGE)
        enough.set()
    assert caught.value.fate is Fate.UNKNOWN


def test_a_fault_of_the_callers_headers_is_a_failure_like_another() -> None:
    def headers() -> dict[str, str]:
        raise RuntimeError("no token at hand: hunter2")

    client = Poster("http://127.0.0.1:1", headers=headers, max_message_bytes=10)
    with pytest.raises(Failed) as caught:
        client.post(UID, MESSAGE)
    assert caught.value.text == "cannot connect (RuntimeError)"
    assert caught.value.fate is Fate.UNSENT
