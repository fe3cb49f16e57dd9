"""Proxies and certificates of one destination, over both protocols, as its settings say."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from llm_observe.errors import Problem
from llm_observe.settings.model import Destination
from llm_observe.testing import OTLPGrpcSink, serve_grpc
from llm_observe.tracing.export.backend import Backend
from llm_observe.tracing.export.exchange import Exchange
from llm_observe.tracing.export.probe import probe_all
from llm_observe.tracing.export.verdict import Answer, explain
from tests.tracing.export.certificates import Authority
from tests.tracing.export.drive import PATIENCE_S
from tests.tracing.export.proxying import Proxy, proxying
from tests.tracing.export.sink import running_sink

PROTOCOLS = ("http/protobuf", "grpc")
Serve = Callable[..., AbstractContextManager[tuple[str, Callable[[], int]]]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve(protocol: str, authority: Authority) -> Serve:
    """A receiver of this protocol: its URL, and how many requests arrived."""

    @contextmanager
    def http(*, tls: bool = False, **asked: Any) -> Iterator[tuple[str, Callable[[], int]]]:
        with running_sink(authority.context(**asked) if tls else None) as sink:
            yield sink.url, lambda: len(sink.requests)

    @contextmanager
    def grpc(*, tls: bool = False, **asked: Any) -> Iterator[tuple[str, Callable[[], int]]]:
        receiver = OTLPGrpcSink()
        credentials = authority.credentials(**asked) if tls else None
        with serve_grpc(receiver, credentials=credentials) as served:
            yield served.url, lambda: receiver.count

    return grpc if protocol == "grpc" else http


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = Backend({"PROXY_LOGIN": "Basic abc", **os.environ})
    yield backend
    backend.close()


@pytest.fixture
def ask(backend: Backend, protocol: str) -> Callable[..., Answer]:
    def post(url: str, **keys: Any) -> Answer:
        destination = Destination(endpoint=url, protocol=protocol, timeout_s=5.0, **keys)  # type: ignore[arg-type]  # one of the two
        exchange = Exchange(None, destination, time.monotonic() + PATIENCE_S)
        return backend.post("traces", destination, b"", {}, exchange)

    return post


Ask = Callable[..., Answer]


def test_an_authority_of_ones_own_is_trusted(serve: Serve, ask: Ask, authority: Authority) -> None:
    with serve(tls=True) as (url, arrived):
        assert "TLS failed" in explain(ask(url))
        assert arrived() == 0
        assert ask(url, ca=authority.reference()).succeeded
        assert "TLS failed" in explain(ask(url))


def test_it_is_trusted_instead_of_those_of_the_environment(
    serve: Serve, protocol: str, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other").reference()
    environ = {"OTEL_EXPORTER_OTLP_CERTIFICATE": other.removeprefix("file:")}
    with serve(tls=True) as (url, _):
        asked = Destination(endpoint=url, protocol=protocol, ca=authority.reference())  # type: ignore[arg-type]  # one of the two
        assert probe_all({"a": asked}, time.monotonic() + PATIENCE_S, environ) == []


def test_a_certificate_is_shown(serve: Serve, ask: Ask, authority: Authority) -> None:
    ca, (certificate, key) = authority.reference(), authority.issued()
    with serve(tls=True, ask_client=True) as (url, arrived):
        assert not ask(url, ca=ca).succeeded
        assert arrived() == 0
        assert ask(url, ca=ca, client_certificate=certificate, client_key=key).succeeded


def test_a_certificate_and_its_key_may_stand_in_one_file(
    serve: Serve, ask: Ask, authority: Authority, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    parts = [Path(part.removeprefix("file:")).read_bytes() for part in authority.issued()]
    both.write_bytes(parts[1] + parts[0])
    with serve(tls=True, ask_client=True) as (url, _):
        assert ask(url, ca=authority.reference(), client_certificate=f"file:{both}").succeeded


def test_a_certificate_that_was_renewed_is_shown_from_the_next_request_on(
    serve: Serve, ask: Ask, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    wrong = Authority(tmp_path / "other").issued()
    keys = {"client_certificate": wrong[0], "client_key": wrong[1], "ca": authority.reference()}
    with serve(tls=True, ask_client=True) as (url, _):
        assert not ask(url, **keys).succeeded
        for former, new in zip(wrong, authority.issued("renewed"), strict=True):
            os.replace(new.removeprefix("file:"), former.removeprefix("file:"))
        assert ask(url, **keys).succeeded


def problem(protocol: str, **keys: Any) -> Problem:
    """Of a destination that is asked whether it would take anything."""
    destination = Destination(protocol=protocol, **{"endpoint": "https://127.0.0.1:1", **keys})  # type: ignore[arg-type]  # one of the two
    (found,) = probe_all(
        {"a": destination}, time.monotonic() + PATIENCE_S, {"PROXY_LOGIN": "Basic abc"}
    )
    return found


@pytest.mark.parametrize("key", ["ca", "client_certificate"])
def test_a_file_that_cannot_be_used_is_that_keys_problem(
    protocol: str, key: str, tmp_path: Path
) -> None:
    empty, huge = tmp_path / "empty.pem", tmp_path / "huge.pem"
    empty.touch()
    with huge.open("wb") as file:
        file.truncate(5 * 1024 * 1024)
    for path, why in (
        (tmp_path / "none.pem", "no such file or directory"),
        (tmp_path, "no plain file"),
        (Path("/dev/zero"), "no plain file"),
        (empty, "no certificate"),
        (huge, "over 4194304 bytes"),
    ):
        found = problem(protocol, **{key: f"file:{path}"})
        assert (found.path, found.found) == (f"destinations.a.{key}", f"{path}: {why}")


def test_a_key_that_cannot_be_used_is_that_keys_problem(
    protocol: str, authority: Authority, tmp_path: Path
) -> None:
    certificate, _ = authority.issued()
    _, another = authority.issued("another")
    nothing = tmp_path / "nothing.key"
    nothing.touch()
    for reference, why in (
        (another, "the key of another certificate"),
        (authority.encrypted(), "an encrypted key"),
        (f"file:{nothing}", "no usable key"),
    ):
        found = problem(protocol, client_certificate=certificate, client_key=reference)
        assert found.path == "destinations.a.client_key"
        assert found.found.endswith(why)
    alone = problem(protocol, client_key=another)
    assert (alone.path, alone.found) == ("destinations.a.client_certificate", "nothing")


def test_what_needs_tls_is_refused_without_it(protocol: str, authority: Authority) -> None:
    found = problem(protocol, endpoint="http://127.0.0.1:1", ca=authority.reference())
    assert (found.path, found.found) == ("destinations.a.ca", "an endpoint without TLS")


# -- proxies -----------------------------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxying() as proxy:
        yield proxy


@pytest.mark.parametrize("tls", [False, True])
def test_a_proxy_is_gone_through(
    serve: Serve, ask: Ask, authority: Authority, proxy: Proxy, tls: bool, protocol: str
) -> None:
    ca = authority.reference() if tls else ""
    with serve(tls=tls) as (url, arrived):
        assert ask(url, ca=ca, proxy=proxy.url).succeeded
        place = url.partition("://")[2]
        forwarded = f"POST http://{place}/v1/traces HTTP/1.1"
        tunnel = f"CONNECT {place} HTTP/1."
        assert proxy.lines[0].startswith(tunnel if tls or protocol == "grpc" else forwarded)
        assert ask(url, ca=ca).succeeded
        assert (arrived(), len(proxy.heads)) == (2, 1)


def test_the_name_in_a_certificate_is_the_endpoints_behind_a_proxy_too(
    serve: Serve, ask: Ask, authority: Authority, proxy: Proxy
) -> None:
    with serve(tls=True) as (url, arrived):
        elsewhere = url.replace("127.0.0.1", "localhost")
        answer = ask(elsewhere, ca=authority.reference(), proxy=proxy.url)
        assert "TLS failed: " in explain(answer)
        assert (arrived(), len(proxy.heads)) == (0, 1)


def test_no_proxy_does_not_veto_the_proxy_of_a_destination(
    serve: Serve, ask: Ask, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with serve() as (url, _):
        assert ask(url, proxy=proxy.url).succeeded
    assert len(proxy.heads) == 1


def test_direct_is_around_the_proxy_of_the_environment(
    ask: Ask, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, proxy.url)
    assert not ask("http://collector.invalid:4317", proxy="direct").succeeded
    assert proxy.heads == []


@pytest.mark.parametrize("tls", [False, True])
def test_a_proxy_is_told_who_asks(
    serve: Serve, ask: Ask, authority: Authority, protocol: str, tls: bool
) -> None:
    ca = authority.reference() if tls else ""
    with serve(tls=tls) as (url, arrived), proxying("Basic abc") as proxy:
        refused = ask(url, ca=ca, proxy=proxy.url)
        assert "407 Proxy Authentication Required" in explain(refused)
        assert "canary-words" not in explain(refused)
        assert arrived() == 0
        known = ask(url, ca=ca, proxy=proxy.url, proxy_authorization="env:PROXY_LOGIN")
        assert known.succeeded


def test_a_proxy_that_is_not_there_is_that_keys_problem(protocol: str) -> None:
    for endpoint in ("http://127.0.0.1:9", "https://127.0.0.1:9"):
        found = problem(protocol, endpoint=endpoint, proxy="http://127.0.0.1:1")
        assert found.path == "destinations.a.proxy"
        assert found.found.startswith("http://127.0.0.1:1: ")
        assert found.found.endswith("connection refused")


def test_what_a_proxy_is_told_needs_a_value_and_a_proxy(protocol: str) -> None:
    for keys, found in (
        ({"proxy_authorization": "env:PROXY_LOGIN"}, "no proxy"),
        ({"proxy_authorization": "env:NO", "proxy": "http://127.0.0.1:1"}, "no value in NO"),
    ):
        seen = problem(protocol, **keys)
        assert (seen.path, seen.found) == ("destinations.a.proxy_authorization", found)


def test_grpc_knows_no_proxy_under_tls() -> None:
    found = problem("grpc", proxy="https://127.0.0.1:1")
    assert found.path == "destinations.a.proxy"


def test_http_knows_a_proxy_under_tls(backend: Backend, authority: Authority) -> None:
    context = authority.context()
    with running_sink(authority.context()) as sink, proxying(tls=context) as proxy:
        destination = Destination(
            endpoint=sink.url, ca=authority.reference(), proxy=proxy.url, timeout_s=5.0
        )
        exchange = Exchange(None, destination, time.monotonic() + PATIENCE_S)
        assert backend.post("traces", destination, b"", {}, exchange).succeeded
        assert proxy.lines[0].startswith("CONNECT ")


def test_user_and_password_of_the_environments_proxy_are_told(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    with proxying("Basic YW5uOnAgdw==") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//ann:p%20w@"))
        destination = Destination(endpoint="http://collector.invalid", timeout_s=5.0)
        exchange = Exchange(None, destination, time.monotonic() + PATIENCE_S)
        backend.post("traces", destination, b"", {}, exchange)
        assert "proxy-authorization: basic yw5uonagdw==" in proxy.heads[0].lower()
