from typing import Any

import pytest

from llm_observe.settings import layers
from llm_observe.settings.layers import Layer, LayerValue, Source
from llm_observe.settings.model import CaptureLevel, Destination, Limits, Settings

KEEP = {"errors": False, "buffer_s": 60.0, "buffer_spans": 5000, "buffer_mib": 16.0}


def resolve(limits: Limits | None = None, /, **given: dict[str, Any]) -> layers.Resolved:
    values = {Layer(n): LayerValue(f, float(i)) for i, (n, f) in enumerate(given.items(), 1)}
    return layers.resolve(values, limits)


def test_without_any_layer_the_defaults_hold() -> None:
    resolved = resolve()
    assert resolved.settings == Settings()
    assert resolved.document == {
        "sampling": {"ratio": 1.0, "rules": {}, "by": "trace", "keep": KEEP},
        "capture": {"level": "metadata", "rules": {}, "grants": {}, "max_chars": 0},
        "destinations": {},
        "redaction": {"detectors": {}, "patterns": {}, "allow": [], "hash_key": ""},
        "conventions": {"genai": "1.41"},
        "instrumentation": {"enabled": True, "providers": {}},
    }
    assert set(resolved.sources.values()) == {Source(Layer.DEFAULT, 0.0)}


def test_a_higher_layer_wins_and_the_source_says_so() -> None:
    resolved = resolve(
        environment={"sampling": {"ratio": 0.1}},
        code={"sampling": {"ratio": 0.2}, "capture": {"level": "full"}},
        remote={"capture": {"level": "off"}},
    )
    assert resolved.settings.sampling.ratio == 0.2
    assert resolved.settings.capture.level is CaptureLevel.OFF
    assert resolved.sources["sampling.ratio"] == Source(Layer.CODE, 2.0)
    assert resolved.sources["capture.level"] == Source(Layer.REMOTE, 3.0)


def test_destinations_are_merged_per_key() -> None:
    resolved = resolve(
        environment={"destinations": {"default": {"endpoint": "http://a", "timeout_s": 3}}},
        remote={
            "destinations": {"default": {"endpoint": "http://b"}, "new": {"endpoint": "http://c"}}
        },
    )
    assert resolved.settings.destinations["default"].endpoint == "http://b"
    assert resolved.settings.destinations["default"].timeout_s == 3.0
    assert resolved.sources["destinations.default.timeout_s"].layer is Layer.ENVIRONMENT
    assert sorted(layers.active_destinations(resolved.settings)) == ["default", "new"]


def test_a_destination_is_removed_by_a_higher_layer() -> None:
    resolved = resolve(
        environment={"destinations": {"default": {"endpoint": "http://a"}}},
        remote={"destinations": {"default": {"enabled": False}}},
    )
    assert layers.active_destinations(resolved.settings) == {}


@pytest.mark.parametrize("layer", ["environment", "code", "remote", "grant"])
def test_no_layer_gets_beyond_the_capture_limit(layer: str) -> None:
    limits = Limits(capture_level=CaptureLevel.METADATA)
    resolved = resolve(limits, **{layer: {"capture": {"level": "full"}}})
    assert resolved.settings.capture.level is CaptureLevel.METADATA
    assert [p.path for p in resolved.capped] == ["capture.level"]


def test_a_limit_below_the_default_lowers_the_default() -> None:
    limits = Limits(capture_level=CaptureLevel.OFF)
    assert resolve(limits).settings.capture.level is CaptureLevel.OFF


def test_a_host_beyond_the_limit_gets_nothing() -> None:
    limits = Limits(destination_hosts=("*.example.com", "127.0.0.1"))
    resolved = resolve(
        limits,
        remote={
            "destinations": {
                "good": {"endpoint": "https://otlp.example.com"},
                "near": {"endpoint": "https://example.com.evil.org"},
                "dotted.name": {"endpoint": "http://10.0.0.1:4318"},
            }
        },
    )
    assert list(layers.active_destinations(resolved.settings)) == ["good"]
    assert len(resolved.capped) == 2


def test_a_queue_beyond_the_limit_is_the_one_of_the_process() -> None:
    asked = {"destinations": {"a": {"endpoint": "http://h", "queue_mib": 48}}}
    resolved = resolve(Limits(queue_mib=16), remote=asked)
    assert resolved.settings.destinations["a"] == Destination(endpoint="http://h")
    assert [str(p) for p in resolved.capped] == [
        "destinations.a.queue_mib: found 48, expected at most 16 (local limit)"
    ]
    assert resolve(Limits(queue_mib=48), remote=asked).capped == ()


def test_a_buffer_beyond_the_limit_is_as_large_as_the_limit_also_where_nobody_says_its_size() -> (
    None
):
    limits = Limits(buffer_mib=4)
    resolved = resolve(limits, remote={"sampling": {"keep": {"errors": True, "buffer_mib": 64}}})
    assert resolved.settings.sampling.keep.buffer_mib == 4
    assert [str(p) for p in resolved.capped] == [
        "sampling.keep.buffer_mib: found 64, expected at most 4 (local limit)"
    ]
    unsaid = resolve(limits, remote={"sampling": {"keep": {"errors": True}}})
    assert (unsaid.settings.sampling.keep.buffer_mib, unsaid.capped) == (4, ())


def test_the_control_plane_names_only_secrets_that_it_may() -> None:
    fragment = {
        "destinations": {
            "a": {"headers": {"authorization": "env:OTEL_TOKEN", "x-key": "env:AWS_SECRET"}},
            "b": {
                "proxy_authorization": "file:/run/secrets/../etc/passwd",
                "client_key": "file:/k",
            },
        },
        "redaction": {"hash_key": "env:HASH_KEY"},
    }
    limits = Limits(references=("env:OTEL_*", "env:HASH_KEY", "file:/*"))
    assert [str(p) for p in layers.forbidden_keys(fragment, limits)] == [
        "destinations.a.headers.x-key: found env:AWS_SECRET, expected one of the references "
        "env:OTEL_*, env:HASH_KEY, file:/* (local limit)",
        "destinations.b.proxy_authorization: found file:/run/secrets/../etc/passwd, expected one of "
        "the references env:OTEL_*, env:HASH_KEY, file:/* (local limit)",
    ]
    assert list(layers.forbidden_keys(fragment, Limits())) == []


def test_keys_can_be_kept_to_the_local_side() -> None:
    limits = Limits(remote_keys=("sampling", "capture.level"))
    fragment = {"sampling": {"ratio": 1}, "destinations": {"a": {"endpoint": "http://h"}}}
    assert [p.path for p in layers.forbidden_keys(fragment, limits)] == ["destinations.a.endpoint"]
    assert not [*layers.forbidden_keys(fragment, Limits())]


def test_a_document_built_from_a_value_builds_that_value() -> None:
    fragment = {"destinations": {"a": {"endpoint": "http://h", "signals": ["traces"]}}}
    settings = layers.build(fragment)
    assert settings.destinations["a"].signals == ("traces",)
    assert layers.build(layers.as_document(settings)) == settings
