from llm_observe.agent.status import DestinationState, Link, Status
from llm_observe.errors import Problem

SETTINGS = {"sampling": {"ratio": 0.5}, "capture": {"level": "off"}}


def test_a_status_reads_as_sentences() -> None:
    status = Status(
        service_name="chat",
        instance_id="1",
        link=Link(server="http://h", last_error="connection refused"),
        settings=SETTINGS,
        instrumentors={"replicate": "active", "openai": "absent"},
        destinations={"a": DestinationState(endpoint="http://o", sent=3, queued=1, dropped=2)},
        calls=4,
        remote_error="sampling.ratio: found 2, expected a number of at most 1",
        problems=(Problem("X", "1", "2"),),
        troubles=("no disk",),
    )
    assert str(status).splitlines() == [
        "chat observes calls through replicate; 4 call(s) so far.",
        "Not connected to the control plane at http://h: connection refused.",
        "Capture level is off; 50% of traces are exported.",
        "a (http://o): 3 sent, 1 waiting, 2 lost.",
        "The last settings from the control plane were refused: sampling.ratio: found 2, expected a number of at most 1",
        "Ignored: X: found 1, expected 2.",
        "Trouble: no disk.",
    ]


def test_an_idle_program_is_told_the_next_steps() -> None:
    status = Status(
        service_name="s", instance_id="1", link=Link(), settings=SETTINGS, instrumentors={}
    )
    text = str(status)
    assert "LLM_OBSERVE_SERVER" in text
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in text


def test_a_provider_that_is_not_ours_is_named_and_no_sampling_is_claimed() -> None:
    status = Status(
        service_name="s", instance_id="1", link=Link(), settings=SETTINGS, instrumentors={},
        provider="phoenix.otel.otel.TracerProvider",
    )  # fmt: skip
    text = str(status)
    assert "recorded on phoenix.otel.otel.TracerProvider, which samples and exports" in text
    assert "50%" not in text
    assert "nowhere" not in text


def test_a_disabled_sdk_says_only_that() -> None:
    status = Status(
        service_name="s", instance_id="1", link=Link(), settings={}, instrumentors={}, disabled=True
    )
    assert str(status) == "Nothing is observed: OTEL_SDK_DISABLED is true."


def test_more_than_one_share_for_all_is_said() -> None:
    keep = {"errors": True, "buffer_s": 60.0}
    sampling = {"ratio": 0.1, "rules": {"a": {}, "b": {}}, "per_second": 5.0, "keep": keep}
    settings = {**SETTINGS, "sampling": sampling}
    status = Status(
        service_name="s", instance_id="1", link=Link(), settings=settings, instrumentors={}
    )
    said = "10% of traces are exported, other shares by 2 rule(s), at most 5 a second, and those that a keep rule wants."
    assert said in str(status)
    sampling["keep"] = {"errors": False, "buffer_s": 60.0}
    assert "keep rule" not in str(status)
