"""Connections: TLS, proxies, and requests that are ended from another thread."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from llm_observe.settings.model import Destination
from llm_observe.testing import OTLPGrpcSink, serve_grpc
from llm_observe.tracing.export.exchange import Aborted, Exchange
from llm_observe.tracing.export.transport import Transport
from llm_observe.tracing.export.verdict import Answer
from tests.tracing.export.drive import PATIENCE_S
from tests.tracing.export.sink import Reply, Sink, running_sink

AUTHORITY = trustme.CA()


def exchange() -> Exchange:
    return Exchange(None, None, time.monotonic() + PATIENCE_S)


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport({})
    yield transport
    transport.close()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def secure() -> Iterator[Sink]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    with running_sink(context) as sink:
        yield sink


def post(
    transport: Transport, url: str, body: bytes = b"body", x: Exchange | None = None
) -> Answer:
    destination = Destination(endpoint=url, compression="none", timeout_s=5.0)
    return transport.post(destination, "traces", body, {}, x or exchange())


def test_an_unknown_authority_is_refused(secure: Sink, transport: Transport) -> None:
    answer = post(transport, secure.url)
    assert answer.status == 0
    assert answer.reason.startswith("TLS failed: self-signed certificate") or (
        "unable to get local issuer certificate" in answer.reason
    )
    assert secure.requests == []


def test_an_authority_named_by_the_environment_is_trusted(secure: Sink, authority: Path) -> None:
    transport = Transport({"OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority)})
    assert post(transport, secure.url).status == 200
    transport.close()


def test_a_certificate_of_another_host_is_refused(authority: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("elsewhere.example").configure_cert(context)
    transport = Transport({"OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority)})
    with running_sink(context) as sink:
        answer = post(transport, sink.url)
        assert (answer.status, sink.requests) == (0, [])
    transport.close()


def test_a_client_certificate_is_shown(authority: Path, tmp_path: Path) -> None:
    mine = AUTHORITY.issue_cert("client.example")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    mine.cert_chain_pems[0].write_to_path(str(certificate))
    mine.private_key_pem.write_to_path(str(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    transport = Transport(
        {
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificate),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(key),
        }
    )
    with running_sink(context) as sink:
        assert post(transport, sink.url).status == 200
    transport.close()


def test_an_encrypted_request_can_be_ended_too(secure: Sink, authority: Path) -> None:
    secure.reply = Reply(hang=True)
    transport = Transport({"OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority)})
    assert end_while_hanging(secure, transport).reason == "aborted"
    transport.close()


def test_a_request_can_be_ended_from_another_thread(sink: Sink, transport: Transport) -> None:
    sink.reply = Reply(hang=True)
    assert end_while_hanging(sink, transport).reason == "aborted"
    assert sink.hung_up.wait(PATIENCE_S)


def end_while_hanging(sink: Sink, transport: Transport) -> Answer:
    under_way, answers = exchange(), list[Answer]()
    thread = threading.Thread(target=lambda: answers.append(post(transport, sink.url, x=under_way)))
    thread.start()
    sink.wait(1, "/v1/traces")
    under_way.abort()
    thread.join(PATIENCE_S)
    (answer,) = answers
    return answer


def test_what_was_aborted_beforehand_is_never_sent(sink: Sink, transport: Transport) -> None:
    for _ in range(2):  # over a new connection, then over a kept one
        over = exchange()
        over.abort()
        assert post(transport, sink.url, x=over).reason == "aborted"
        assert over.harmless
        assert post(transport, sink.url).status == 200
    assert len(sink.requests) == 2


def test_an_exchange_that_was_aborted_accepts_no_socket() -> None:
    over = exchange()
    assert not over.harmless
    over.abort()
    with pytest.raises(Aborted):
        over.opened(None)  # type: ignore[arg-type]  # it is not even looked at


def test_a_redirect_is_an_answer_like_any_other(sink: Sink, transport: Transport) -> None:
    sink.reply = Reply(307, {"location": f"{sink.url}/elsewhere"})
    assert post(transport, sink.url).status == 307
    assert [request.path for request in sink.requests] == ["/v1/traces"]


def test_a_connection_that_the_server_closed_is_replaced(sink: Sink, transport: Transport) -> None:
    sink.script = [Reply(200, {"connection": "close"})]
    for _ in range(3):
        assert post(transport, sink.url).status == 200


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "connection failed: connection refused"),
        ("http://no-such-host.invalid", "the host name cannot be resolved"),
    ],
)
def test_what_cannot_be_reached_is_explained(transport: Transport, url: str, reason: str) -> None:
    assert post(transport, url).reason == reason


def test_a_port_for_grpc_is_told_from_one_that_hangs_up(sink: Sink, transport: Transport) -> None:
    with serve_grpc(OTLPGrpcSink()) as server:
        said = post(transport, server.url).reason
    assert said == "the other side does not speak HTTP/1 (is it a port for gRPC?)"
    sink.script = [Reply(close=True)]
    assert post(transport, sink.url).reason == "the connection broke"


def test_a_proxy_named_by_the_environment_is_used_but_never_for_loopback(
    sink: Sink, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", sink.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert post(transport, "http://collector.invalid").status == 200
    (seen,) = sink.requests
    assert seen.path == "http://collector.invalid/v1/traces"
    assert post(transport, sink.url).status == 200
    assert sink.requests[1].path == "/v1/traces"
