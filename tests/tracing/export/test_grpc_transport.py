"""Calls over gRPC: TLS, limits, proxies, what is said of failures, and calls ended from another thread."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from llm_observe.settings.model import Destination
from llm_observe.testing import Answer, OTLPGrpcSink, Served, serve_grpc
from llm_observe.tracing.export.exchange import Exchange
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.grpc_transport import GrpcTransport
from llm_observe.tracing.export.verdict import Answer as Seen
from llm_observe.tracing.export.verdict import explain
from tests.tracing.export.drive import PATIENCE_S
from tests.tracing.export.sink import Sink
from tests.tracing.export.wiretap import tapping

AUTHORITY = trustme.CA()
SECRET = "canary-9c1d"


def exchange() -> Exchange:
    return Exchange(None, None, time.monotonic() + PATIENCE_S)


@pytest.fixture
def transport() -> Iterator[GrpcTransport]:
    transport = GrpcTransport({})
    yield transport
    transport.close()


@pytest.fixture
def receiver() -> OTLPGrpcSink:
    return OTLPGrpcSink()


@pytest.fixture
def server(receiver: OTLPGrpcSink) -> Iterator[Served]:
    with serve_grpc(receiver) as served:
        yield served


def post(
    transport: GrpcTransport,
    url: str,
    body: bytes = b"",
    *,
    signal: Any = "traces",
    headers: dict[str, str] | None = None,
    x: Exchange | None = None,
    **known: Any,
) -> Seen:
    options = {"compression": "none", "timeout_s": PATIENCE_S, **known}
    destination = Destination(endpoint=url, protocol="grpc", **options)
    return transport.post(destination, signal, body, headers or {}, x or exchange())


def test_each_signal_reaches_its_service_with_its_metadata(
    receiver: OTLPGrpcSink, server: Served, transport: GrpcTransport
) -> None:
    for signal in ("traces", "metrics"):
        answer = post(transport, server.url, signal=signal, headers={"x-key": SECRET})
        assert (answer.code, answer.succeeded) == ("OK", True)
    traces, metrics = receiver.requests()
    assert (traces.signal, metrics.signal) == ("traces", "metrics")
    assert traces.headers["x-key"] == SECRET
    assert traces.headers["user-agent"].startswith("llm-observe")
    assert traces.peer == metrics.peer  # one connection


@pytest.mark.parametrize(("compression", "shrinks"), [("none", False), ("gzip", True)])
def test_requests_are_compressed_where_the_destination_says_so(
    receiver: OTLPGrpcSink,
    server: Served,
    transport: GrpcTransport,
    compression: str,
    shrinks: bool,
) -> None:
    body = b"\x0a\x00" * 50_000
    with tapping(server.port) as tap:
        assert post(transport, tap.url, body, compression=compression).succeeded
    assert receiver.requests()[0].body == body
    assert (tap.bytes < 20_000) is shrinks


@pytest.mark.parametrize(
    ("answer", "explained"),
    [
        (Answer(code="UNAUTHENTICATED"), "gRPC UNAUTHENTICATED"),
        (Answer(code="INTERNAL"), "gRPC INTERNAL"),
        (Answer(code="UNAVAILABLE"), "gRPC UNAVAILABLE"),
    ],
)
def test_a_refusal_is_named_by_its_code_and_never_by_the_servers_words(
    receiver: OTLPGrpcSink,
    server: Served,
    transport: GrpcTransport,
    answer: Answer,
    explained: str,
) -> None:
    receiver.answer_with(answer)
    seen = post(transport, server.url)
    assert (explain(seen), seen.answered, seen.succeeded) == (explained, True, False)


def test_the_time_to_wait_is_read_from_the_status(
    receiver: OTLPGrpcSink, server: Served, transport: GrpcTransport
) -> None:
    receiver.answer_with(Answer(status=429, retry_after_s=3))
    seen = post(transport, server.url)
    assert (seen.code, seen.retry_after_s, seen.throttled) == ("RESOURCE_EXHAUSTED", 3.0, True)


def test_a_partial_success_keeps_its_body(
    receiver: OTLPGrpcSink, server: Served, transport: GrpcTransport
) -> None:
    receiver.answer_with(Answer(rejected=4))
    seen = post(transport, server.url)
    assert seen.succeeded
    assert seen.body != b""


def test_a_call_that_is_not_answered_ends_at_its_time_limit(
    receiver: OTLPGrpcSink, server: Served, transport: GrpcTransport
) -> None:
    receiver.answer_with(Answer(hang=True))
    seen = post(transport, server.url, timeout_s=0.3)
    assert explain(seen) == "gRPC DEADLINE_EXCEEDED: no answer within 0.3 s"
    assert receiver.wait_for(lambda: receiver.in_flight == 0, PATIENCE_S)
    receiver.answer_with(Answer())
    assert post(transport, server.url).succeeded


def test_a_call_can_be_ended_from_another_thread_and_its_connection_with_it(
    receiver: OTLPGrpcSink, server: Served, transport: GrpcTransport
) -> None:
    receiver.then(Answer(hang=True))
    under_way, answers = exchange(), list[Seen]()
    with tapping(server.port) as tap:
        thread = threading.Thread(
            target=lambda: answers.append(post(transport, tap.url, x=under_way))
        )
        thread.start()
        assert receiver.wait_for(lambda: receiver.in_flight == 1, PATIENCE_S)
        under_way.abort()
        thread.join(PATIENCE_S)
        assert tap.closed.wait(PATIENCE_S)
    assert [answer.reason for answer in answers] == ["aborted"]
    assert receiver.wait_for(lambda: receiver.in_flight == 0, PATIENCE_S)
    assert post(transport, server.url).succeeded


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sockets are found on Linux only")
def test_what_the_kernel_still_holds_of_an_ended_call_is_thrown_away(
    server: Served, transport: GrpcTransport
) -> None:
    under_way = exchange()
    with tapping(server.port, deaf_after=1000) as tap, socket.create_server(("", 0)) as other:
        own = socket.create_connection(other.getsockname())  # of the application
        assert post(transport, tap.url, b"").succeeded
        thread = threading.Thread(
            target=lambda: post(transport, tap.url, b"x" * 3_000_000, x=under_way)
        )
        thread.start()
        assert tap.deaf.wait(PATIENCE_S)
        time.sleep(0.1)  # for the kernel's buffer to fill
        under_way.abort()
        thread.join(PATIENCE_S)
        tap.resume.set()
        assert tap.closed.wait(PATIENCE_S)
        assert tap.reset.is_set()
        assert tap.bytes < 3_000_000
        own.send(b"still here")
        own.close()


def test_what_was_aborted_beforehand_is_never_sent(
    receiver: OTLPGrpcSink, server: Served, transport: GrpcTransport
) -> None:
    for _ in range(2):  # over a new connection, then over a kept one
        over = exchange()
        over.abort()
        assert post(transport, server.url, x=over).reason == "aborted"
        assert over.harmless
        assert post(transport, server.url).succeeded
    assert receiver.count == 2


def test_nobody_there_is_said_at_once_and_so_is_somebody_who_came_since(
    transport: GrpcTransport, receiver: OTLPGrpcSink
) -> None:
    with serve_grpc(OTLPGrpcSink()) as gone:
        pass
    seen = post(transport, gone.url)
    assert explain(seen) == "gRPC UNAVAILABLE: connection refused"
    with serve_grpc(receiver, port=gone.port):
        assert post(transport, gone.url).succeeded


def test_a_name_that_does_not_exist_is_explained(transport: GrpcTransport) -> None:
    seen = post(transport, "http://no-such-host.invalid")
    assert explain(seen) == "gRPC UNAVAILABLE: the host name cannot be resolved"


def test_a_server_for_http_is_recognized(sink: Sink, transport: GrpcTransport) -> None:
    seen = post(transport, sink.url)
    assert not seen.succeeded
    assert "does not speak gRPC" in explain(seen)


def test_an_endpoint_with_a_path_is_not_tried(server: Served, transport: GrpcTransport) -> None:
    seen = post(transport, f"{server.url}/v1/traces")
    assert seen.reason == "an endpoint for gRPC has no path"


def test_an_answer_beyond_the_bound_is_not_taken(transport: GrpcTransport) -> None:
    def export(_: bytes, __: grpc.ServicerContext) -> bytes:
        return b"x" * 100_000

    with serve_grpc(Talkative(export)) as server:
        assert not post(transport, server.url).succeeded


class Talkative(OTLPGrpcSink):
    def __init__(self, export: Any) -> None:
        super().__init__()
        self._any = export

    def _export(self, path: str, signal: str, body: bytes, context: Any) -> bytes:
        answer: bytes = self._any(body, context)
        return answer


# -- TLS ---------------------------------------------------------------------------------------


def credentials(host: str = "127.0.0.1", *, ask_client: bool = False) -> grpc.ServerCredentials:
    mine = AUTHORITY.issue_cert(host)
    return grpc.ssl_server_credentials(
        [(mine.private_key_pem.bytes(), b"".join(pem.bytes() for pem in mine.cert_chain_pems))],
        AUTHORITY.cert_pem.bytes() if ask_client else None,
        ask_client,
    )


@pytest.fixture
def trusting(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    return {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(file)}


def over_tls(environ: dict[str, str], receiver: OTLPGrpcSink, **known: Any) -> Seen:
    transport = GrpcTransport(environ)
    with serve_grpc(receiver, credentials=credentials(**known)) as server:
        seen = post(transport, server.url)
        transport.close()
    return seen


def test_an_unknown_authority_is_refused(receiver: OTLPGrpcSink) -> None:
    seen = over_tls({}, receiver)
    assert explain(seen).startswith("gRPC UNAVAILABLE: TLS failed: ")
    assert receiver.count == 0


def test_an_authority_named_by_the_environment_is_trusted(
    receiver: OTLPGrpcSink, trusting: dict[str, str]
) -> None:
    assert over_tls(trusting, receiver).succeeded


def test_a_certificate_of_another_host_is_refused(
    receiver: OTLPGrpcSink, trusting: dict[str, str]
) -> None:
    seen = over_tls(trusting, receiver, host="elsewhere.example")
    assert explain(seen) == "gRPC UNAVAILABLE: TLS failed: certificate of another host"
    assert receiver.count == 0


def test_a_client_certificate_is_shown(
    receiver: OTLPGrpcSink, trusting: dict[str, str], tmp_path: Path
) -> None:
    mine = AUTHORITY.issue_cert("client.example")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    mine.cert_chain_pems[0].write_to_path(str(certificate))
    mine.private_key_pem.write_to_path(str(key))
    shown = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificate),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(key),
    }
    assert not over_tls(trusting, receiver, ask_client=True).succeeded
    assert over_tls(trusting | shown, receiver, ask_client=True).succeeded


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.pem")
    transport = GrpcTransport({"OTEL_EXPORTER_OTLP_CERTIFICATE": missing})
    with pytest.raises(KeyFault, match=f"{missing}: no such file or directory"):
        post(transport, "https://127.0.0.1:1")


# -- proxies -----------------------------------------------------------------------------------


def test_a_proxy_named_by_the_environment_is_used_but_never_for_loopback(
    sink: Sink,
    receiver: OTLPGrpcSink,
    server: Served,
    transport: GrpcTransport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tapping(server.port) as proxy:
        monkeypatch.setenv("grpc_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("no_grpc_proxy", raising=False)
        assert not post(transport, "http://collector.invalid:4317", timeout_s=2.0).succeeded
        assert proxy.first.startswith(b"CONNECT collector.invalid:4317 ")
        assert post(transport, server.url).succeeded
    assert receiver.count == 1
