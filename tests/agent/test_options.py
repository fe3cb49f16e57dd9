from typing import Any

import pytest

from llm_observe.agent.options import (
    CONTROL_PLANE,
    code_fragment,
    default_service_name,
    opamp_url,
    otlp_url,
    read_options,
)
from llm_observe.errors import SettingsError
from llm_observe.settings.layers import Layer
from llm_observe.settings.model import Capture, CaptureLevel, Limits, Settings


def test_without_a_server_nothing_is_dialled_and_nothing_is_sent() -> None:
    options = read_options({}, 0.0)
    assert options.opamp_url is None
    assert options.layers[Layer.DEFAULT].fragment == {}


def test_a_server_is_also_the_default_destination() -> None:
    options = read_options(
        {"LLM_OBSERVE_SERVER": "http://h:4320", "LLM_OBSERVE_TOKEN": "t0ken"}, 0.0
    )
    assert options.opamp_url == "ws://h:4320/v1/opamp"
    assert options.layers[Layer.DEFAULT].fragment == {
        "destinations": {
            CONTROL_PLANE: {
                "endpoint": "http://h:4320",
                "headers": {"authorization": "env:LLM_OBSERVE_TOKEN"},
            }
        }
    }
    assert "t0ken" not in repr(options)


def test_a_destination_of_the_environment_replaces_the_default_one() -> None:
    environ = {
        "LLM_OBSERVE_SERVER": "http://h",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    }
    assert read_options(environ, 0.0).layers[Layer.DEFAULT].fragment == {}


def test_arguments_win_over_the_environment() -> None:
    environ = {"LLM_OBSERVE_SERVER": "http://a", "OTEL_SERVICE_NAME": "env"}
    options = read_options(environ, 0.0, server="https://b/opamp", service_name="arg")
    assert (options.opamp_url, options.service_name) == ("wss://b/opamp", "arg")


@pytest.mark.parametrize("server", ["localhost:4320", "ftp://h", "http://", "http://u:secret@h"])
def test_a_wrong_server_is_refused_as_argument_and_left_out_as_variable(server: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_options({}, 0.0, server=server)
    assert "secret" not in str(caught.value)
    options = read_options({"LLM_OBSERVE_SERVER": server}, 0.0)
    assert options.server is None
    assert [p.path for p in options.problems] == ["LLM_OBSERVE_SERVER"]


@pytest.mark.parametrize(
    ("server", "opamp", "otlp"),
    [
        ("http://h:1", "ws://h:1/v1/opamp", "http://h:1"),
        ("wss://h/", "wss://h/v1/opamp", "https://h"),
        ("https://h/x/opamp", "wss://h/x/opamp", "https://h"),
    ],
)
def test_one_address_gives_both_endpoints(server: str, opamp: str, otlp: str) -> None:
    assert (opamp_url(server), otlp_url(server)) == (opamp, otlp)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://h:4320", "http://h:4320/v1/opamp"),
        ("https://h/x", "https://h/x"),
        ("ws://h/", "ws://h/v1/opamp"),
        ("wss://h/v1/opamp?tenant=1", "wss://h/v1/opamp?tenant=1"),
    ],
)
def test_an_opamp_endpoint_of_its_own_keeps_the_scheme_that_chooses_the_transport(
    endpoint: str, url: str
) -> None:
    environ = {"LLM_OBSERVE_SERVER": "http://a", "LLM_OBSERVE_OPAMP_ENDPOINT": endpoint}
    assert read_options(environ, 0.0).opamp_url == url
    assert read_options({}, 0.0, opamp_endpoint=endpoint).opamp_url == url
    assert read_options(environ, 0.0, opamp_endpoint="ws://b/p").opamp_url == "ws://b/p"


def test_an_opamp_endpoint_alone_names_no_destination() -> None:
    options = read_options({"LLM_OBSERVE_OPAMP_ENDPOINT": "http://h/v1/opamp"}, 0.0)
    assert options.server is None
    assert options.layers[Layer.DEFAULT].fragment == {}


def test_a_wrong_opamp_endpoint_is_refused_as_argument_and_left_out_as_variable() -> None:
    with pytest.raises(SettingsError, match="opamp_endpoint"):
        read_options({}, 0.0, opamp_endpoint="localhost:4320")
    options = read_options({"LLM_OBSERVE_OPAMP_ENDPOINT": "localhost:4320"}, 0.0)
    assert options.opamp_url is None
    assert [p.path for p in options.problems] == ["LLM_OBSERVE_OPAMP_ENDPOINT"]


@pytest.mark.parametrize(
    ("text", "on", "problems"),
    [("", True, 0), ("on", True, 0), (" OFF ", False, 0), ("never", True, 1)],
)
def test_signals_can_be_left_alone(text: str, on: bool, problems: int) -> None:
    options = read_options({"LLM_OBSERVE_SIGNALS": text}, 0.0)
    assert (options.signals, len(options.problems)) == (on, problems)


@pytest.mark.parametrize(
    ("text", "on", "problems"), [("", False, 0), ("On", True, 0), ("1", False, 1)]
)
def test_another_connection_is_taken_only_where_the_environment_says_so(
    text: str, on: bool, problems: int
) -> None:
    options = read_options({"LLM_OBSERVE_OPAMP_CONNECTION_OFFERS": text}, 0.0)
    assert (options.connection_offers, len(options.problems)) == (on, problems)


def test_of_two_limits_the_stricter_one_counts() -> None:
    environ = {
        "LLM_OBSERVE_LIMIT_CAPTURE_LEVEL": "redacted",
        "LLM_OBSERVE_LIMIT_DESTINATION_HOSTS": "a,b",
        "LLM_OBSERVE_LIMIT_REFERENCES": "env:A,env:B",
    }
    limits: dict[str, Any] = {
        "capture_level": "full",
        "destination_hosts": ["b", "c"],
        "queue_mib": 8,
        "buffer_mib": 4,
        "references": ["env:B", "env:C"],
    }
    options = read_options(environ, 0.0, limits=limits)
    assert options.limits == Limits(
        capture_level=CaptureLevel.REDACTED,
        destination_hosts=("b",),
        remote_keys=None,
        queue_mib=8.0,
        buffer_mib=4.0,
        references=("env:B",),
    )


def test_what_only_one_side_permits_is_permitted_and_of_two_what_both_do() -> None:
    environ = {
        "LLM_OBSERVE_LIMIT_LOCAL_SINKS": "file,console",
        "LLM_OBSERVE_LIMIT_FILE_FOLDERS": "/var/log/app,/tmp",
    }
    assert read_options(environ, 0.0).limits.local_sinks == ("file", "console")
    limits = {"local_sinks": ["file"], "file_folders": ["/var/log", "/tmp/mine", "/etc"]}
    alone = read_options({}, 0.0, limits=limits).limits
    assert (alone.local_sinks, alone.file_folders) == (("file",), ("/var/log", "/tmp/mine", "/etc"))
    both = read_options(environ, 0.0, limits=limits).limits
    assert (both.local_sinks, both.file_folders) == (("file",), ("/tmp/mine", "/var/log/app"))


@pytest.mark.parametrize(
    "limits",
    [
        {"capture": "off"},
        {"capture_level": "none"},
        {"queue_mib": -1},
        {"local_sinks": ["syslog"]},
        {"file_folders": ["logs"]},
    ],
)
def test_an_unknown_limit_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        read_options({}, 0.0, limits=limits)


def test_a_settings_value_speaks_only_of_what_differs_from_the_defaults() -> None:
    settings = Settings(capture=Capture(level=CaptureLevel.FULL))
    assert code_fragment(settings) == {"capture": {"level": "full"}}
    assert code_fragment(None) == {}


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/x/chat.py"], "chat"),
        (["/x/app/__main__.py"], "app"),
        ([""], "unknown_service"),
        (["-c"], "unknown_service"),
    ],
)
def test_the_script_names_the_service(argv: list[str], name: str) -> None:
    assert default_service_name(argv) == name
