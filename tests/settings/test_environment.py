from typing import Any

import pytest

from llm_observe.settings import schema
from llm_observe.settings.environment import ROWS, read_environment, read_limits
from llm_observe.settings.model import CaptureLevel

DEFAULT = "destinations.default"


@pytest.mark.parametrize(
    ("environ", "fragment"),
    [
        ({}, {}),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, {"sampling": {"ratio": 0.0}}),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            {"sampling": {"ratio": 0.25}},
        ),
        (
            {"OTEL_TRACES_SAMPLER": "always_off", "LLM_OBSERVE_SAMPLING_RATIO": "0.5"},
            {"sampling": {"ratio": 0.5}},
        ),
        ({"LLM_OBSERVE_CAPTURE_LEVEL": "Full"}, {"capture": {"level": "full"}}),
        ({"LLM_OBSERVE_GENAI_CONVENTIONS": "1.36"}, {"conventions": {"genai": "1.36"}}),
        (
            {"LLM_OBSERVE_CAPTURE_LEVEL": "full", "OPENINFERENCE_HIDE_INPUTS": "true"},
            {"capture": {"level": "metadata"}},
        ),
        (
            {
                "OPENINFERENCE_HIDE_LLM_INVOCATION_PARAMETERS": "true",
                "OPENINFERENCE_HIDE_OUTPUTS": "true",
            },
            {"capture": {"level": "off"}},
        ),
        ({"OPENINFERENCE_HIDE_INPUTS": "false"}, {}),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318/",
                "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20x,tenant=1",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
                "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            },
            {
                "destinations": {
                    "default": {
                        "endpoint": "http://h:4318",
                        "headers": {
                            "authorization": "env:OTEL_EXPORTER_OTLP_HEADERS#authorization",
                            "tenant": "env:OTEL_EXPORTER_OTLP_HEADERS#tenant",
                        },
                        "timeout_s": 3.0,
                        "compression": "none",
                    }
                }
            },
        ),
    ],
)
def test_variables_set_their_keys(environ: dict[str, str], fragment: dict[str, Any]) -> None:
    assert read_environment(environ) == (fragment, [])
    schema.validate(fragment)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("LLM_OBSERVE_SAMPLING_RATIO", "1.5"),
        ("LLM_OBSERVE_CAPTURE_LEVEL", "everything"),
        ("OPENINFERENCE_HIDE_INPUTS", "yes"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:hunter2@h"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h/custom"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://h/custom"),
        ("LLM_OBSERVE_GENAI_CONVENTIONS", "1.42"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ],
)
def test_a_wrong_variable_is_left_out_and_named_without_its_secret(
    variable: str, text: str
) -> None:
    fragment, problems = read_environment({variable: text})
    assert fragment == {}
    assert [p.path for p in problems] == [variable]
    assert "hunter2" not in str(problems)


def test_every_row_sets_a_key_that_the_schema_knows() -> None:
    known = schema.json_schema()["$defs"]["Destination"]["properties"]
    for row in ROWS:
        head, *rest = row.path.split(".")
        assert head in {"sampling", "capture", "conventions"} or (
            head == "destinations" and rest[-1] in known
        )


HTTP, GRPC = {"endpoint": "http://h:4318"}, {"endpoint": "http://g:4317", "protocol": "grpc"}
OTLP = "OTEL_EXPORTER_OTLP_"


@pytest.mark.parametrize(
    ("environ", "destinations"),
    [
        ({"PROTOCOL": "grpc", "ENDPOINT": "http://g:4317"}, {"default": GRPC}),
        ({"PROTOCOL": "grpc", "ENDPOINT": "g:4317", "INSECURE": "true"}, {"default": GRPC}),
        (
            {"TRACES_PROTOCOL": "grpc", "TRACES_ENDPOINT": "g:4317"},
            {"default": {"endpoint": "https://g:4317", "protocol": "grpc"}},
        ),
        (
            {"ENDPOINT": "http://h:4318", "METRICS_ENDPOINT": "g:4317", "METRICS_PROTOCOL": "grpc"},
            {
                "default": {**HTTP, "signals": ["traces"]},
                "default-metrics": {
                    "endpoint": "https://g:4317",
                    "protocol": "grpc",
                    "signals": ["metrics"],
                },
            },
        ),
        (
            {"ENDPOINT": "http://h:4318", "TIMEOUT": "3", "METRICS_COMPRESSION": "none"},
            {
                "default": {**HTTP, "timeout_s": 3.0, "signals": ["traces"]},
                "default-metrics": {
                    **HTTP,
                    "timeout_s": 3.0,
                    "compression": "none",
                    "signals": ["metrics"],
                },
            },
        ),
        (
            {"METRICS_ENDPOINT": "http://h:4318/v1/metrics"},
            {"default-metrics": {"endpoint": "http://h:4318/v1/metrics", "signals": ["metrics"]}},
        ),
        (
            {"ENDPOINT": "http://h:4318", "METRICS_TIMEOUT": "3", "TRACES_TIMEOUT": "3"},
            {"default": {**HTTP, "timeout_s": 3.0}},
        ),
    ],
)
def test_variables_of_one_signal_make_a_destination_of_its_own_where_they_differ(
    environ: dict[str, str], destinations: dict[str, Any]
) -> None:
    named = {f"{OTLP}{name}": value for name, value in environ.items()}
    fragment, problems = read_environment(named)
    assert (fragment["destinations"], problems) == (destinations, [])
    schema.validate(fragment)


def test_an_endpoint_with_a_path_is_no_endpoint_for_grpc() -> None:
    environ = {f"{OTLP}PROTOCOL": "grpc", f"{OTLP}ENDPOINT": "http://h:4317/v1/traces"}
    fragment, problems = read_environment(environ)
    assert fragment == {"destinations": {"default": {"protocol": "grpc"}}}
    assert [p.path for p in problems] == [f"{OTLP}ENDPOINT"]


def test_limits_are_read_and_an_unreadable_one_counts_as_the_strictest() -> None:
    limits, problems = read_limits(
        {
            "LLM_OBSERVE_LIMIT_CAPTURE_LEVEL": "all",
            "LLM_OBSERVE_LIMIT_DESTINATION_HOSTS": "a.org, *.b.org",
            "LLM_OBSERVE_LIMIT_REMOTE_KEYS": "",
        }
    )
    assert limits.capture_level is CaptureLevel.OFF
    assert limits.destination_hosts == ("a.org", "*.b.org")
    assert limits.remote_keys == ()
    assert [p.path for p in problems] == ["LLM_OBSERVE_LIMIT_CAPTURE_LEVEL"]


def test_a_limit_that_is_a_number_is_never_wider_than_unset() -> None:
    for text, limit, wrong in (("16", 16.0, 0), ("1e9", 256.0, 0), ("lots", 0.0, 1)):
        limits, problems = read_limits({"LLM_OBSERVE_LIMIT_QUEUE_MIB": text})
        assert (limits.queue_mib, len(problems)) == (limit, wrong)
        limits, problems = read_limits({"LLM_OBSERVE_LIMIT_BUFFER_MIB": text})
        assert (limits.buffer_mib, len(problems)) == (limit, wrong)


def test_what_cannot_be_permitted_permits_nothing() -> None:
    limits, problems = read_limits(
        {
            "LLM_OBSERVE_LIMIT_LOCAL_SINKS": "file, syslog",
            "LLM_OBSERVE_LIMIT_FILE_FOLDERS": "logs,/var/log/app,/a/../etc",
        }
    )
    assert (limits.local_sinks, limits.file_folders) == (("file",), ("/var/log/app",))
    assert [p.path for p in problems] == ["LLM_OBSERVE_LIMIT_LOCAL_SINKS"] + [
        "LLM_OBSERVE_LIMIT_FILE_FOLDERS"
    ] * 2
