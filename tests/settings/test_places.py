"""What may stand in a destination."""

from __future__ import annotations

from typing import Any

import pytest

from llm_observe.settings.layers import (
    Layer,
    LayerValue,
    active_destinations,
    beyond_limits,
    resolve,
)
from llm_observe.settings.model import Limits
from llm_observe.settings.places import destination_problems


def wrong(**keys: Any) -> list[str]:
    """The keys that are refused."""
    found = [*destination_problems("a", keys)]
    assert not any("s3cret" in str(problem) for problem in found)
    return [problem.path.removeprefix("destinations.a.") for problem in found]


@pytest.mark.parametrize("key", ["ca", "client_certificate", "client_key"])
def test_a_certificate_is_named_by_its_file(key: str) -> None:
    assert wrong(**{key: "file:/etc/ssl/mine.pem"}) == []
    for value in ("/etc/ssl/mine.pem", "env:CERT", "file:mine.pem", "-----BEGIN s3cret"):
        assert wrong(**{key: value}) == [key]


def test_a_proxy_is_a_url_without_secrets_or_the_word_direct() -> None:
    for good in ("http://proxy:3128", "https://proxy.example.com/", "direct", ""):
        assert wrong(proxy=good) == []
    for bad in (
        "proxy:3128",
        "socks5://proxy",
        "http://ann:s3cret@proxy",
        "ann:s3cret@proxy:3128",
        "http://proxy/?key=s3cret",
        "http://",
    ):
        assert wrong(proxy=bad) == ["proxy"]
    assert wrong(proxy="https://proxy", protocol="grpc") == ["proxy"]
    assert wrong(proxy="http://proxy", protocol="grpc") == []


def test_what_a_proxy_is_told_is_a_reference() -> None:
    assert wrong(proxy_authorization="env:PROXY_LOGIN") == []
    assert wrong(proxy_authorization="Basic s3cret") == ["proxy_authorization"]


def test_a_proxy_must_be_one_of_the_hosts_that_the_limits_allow() -> None:
    limits = Limits(destination_hosts=("otlp.example.com", "proxy.example.com"))
    asked = {"endpoint": "https://otlp.example.com", "proxy": "http://proxy.example.com:3128"}
    assert not [*beyond_limits({"destinations": {"a": asked}}, limits)]
    elsewhere = {"destinations": {"a": {**asked, "proxy": "http://evil.org:3128"}}}
    assert [p.path for p in beyond_limits(elsewhere, limits)] == ["destinations.a.proxy"]
    resolved = resolve({Layer.CODE: LayerValue(elsewhere, 0.0)}, limits)
    assert active_destinations(resolved.settings) == {}


def test_a_path_is_absolute_and_leads_nowhere_else() -> None:
    for good in ("/var/log/app/spans.jsonl", "/a/..b/c"):
        assert wrong(path=good) == []
    for bad in ("spans.jsonl", "/var/../etc/passwd", "/var/log/", "/", "/a\nb", "/a\0"):
        assert wrong(path=bad) == ["path"]


FILE = {"protocol": "file", "path": "/var/log/app/spans.jsonl"}


def local_problems(limits: Limits, **keys: Any) -> list[str]:
    found = [*beyond_limits({"destinations": {"a": keys}}, limits)]
    resolved = resolve({Layer.REMOTE: LayerValue({"destinations": {"a": keys}}, 0.0)}, limits)
    assert bool(active_destinations(resolved.settings)) is not bool(found)
    return [problem.path.removeprefix("destinations.a.") for problem in found]


def test_a_file_needs_the_leave_of_the_local_side_and_a_folder_of_it() -> None:
    assert local_problems(Limits(), **FILE) == ["protocol", "path"]
    assert local_problems(Limits(local_sinks=("file",)), **FILE) == ["path"]
    folders = ("/srv", "/var/log/app")
    allowed = Limits(local_sinks=("file",), file_folders=folders)
    assert local_problems(allowed, **FILE) == []
    for path in ("/var/log/apple/x", "/var/log/app", "/var/log/app/../x", "/etc/x"):
        assert local_problems(allowed, **{**FILE, "path": path}) == ["path"]


def test_the_console_needs_the_leave_of_the_local_side() -> None:
    for limits, found in (
        (Limits(), ["protocol"]),
        (Limits(local_sinks=("file",)), ["protocol"]),
        (Limits(local_sinks=("file", "console")), []),
    ):
        assert local_problems(limits, protocol="console") == found
