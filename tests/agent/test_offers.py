from typing import Any

import pytest

from llm_observe.agent import offers
from llm_observe.errors import SettingsError
from llm_observe.opamp import ConfigFile
from llm_observe.settings.layers import Layer, LayerValue, build, resolve
from llm_observe.settings.model import CaptureLevel, Limits


def files(
    text: str, name: str = "llm-observe", kind: str = "application/yaml"
) -> dict[str, ConfigFile]:
    return {name: ConfigFile(text.encode(), kind)}


def refused(given: dict[str, ConfigFile], limits: Limits | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        offers.read_offer(given, limits or Limits())
    return [p.path for p in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("sampling: {ratio: 0.5}", "application/yaml"),
        ('{"sampling":{"ratio":0.5}}', "application/json"),
    ],
)
def test_a_good_offer_is_read(text: str, kind: str) -> None:
    assert offers.read_offer(files(text, kind=kind), Limits()) == {"sampling": {"ratio": 0.5}}


def test_an_empty_config_map_means_no_remote_opinion() -> None:
    assert offers.read_offer({}, Limits()) == {}


def test_entries_that_are_not_ours_are_named() -> None:
    given = {**files("{}"), **files("x", "elastic"), **files("y", "collector.yaml")}
    assert refused(given) == ["config map entry 'collector.yaml'", "config map entry 'elastic'"]


def test_every_wrong_key_is_named() -> None:
    assert refused(files("sampling: {ratio: 1.5}\nextra: 1")) == ["sampling.ratio", "extra"]


@pytest.mark.opamp("SEC-02", "SEC-03")
def test_limits_hold_against_the_server() -> None:
    text = "capture: {level: full}\ndestinations: {evil: {endpoint: 'http://evil.example:1'}}"
    limits = Limits(capture_level=CaptureLevel.METADATA, destination_hosts=("127.0.0.1",))
    assert refused(files(text), limits) == ["capture.level", "destinations.evil.endpoint"]
    assert refused(files(text), Limits(remote_keys=("sampling",))) == [
        "capture.level",
        "destinations.evil.endpoint",
    ]


def test_what_was_tightened_before_a_refusal_stays_tightened() -> None:
    remote: dict[str, Any] = {"capture": {"level": "full"}, "sampling": {"ratio": 0.5}}
    before = resolve({Layer.REMOTE: LayerValue(remote, 1.0)})
    in_force = build({"capture": {"level": "off"}, "sampling": {"ratio": 0.5}})
    assert offers.held_fragment(before, in_force, remote) == {
        "capture": {"level": "off"},
        "sampling": {"ratio": 0.5},
    }
    assert offers.held_fragment(before, before.settings, remote) == remote


def test_a_destination_that_went_before_a_refusal_does_not_come_back() -> None:
    remote: dict[str, Any] = {
        "destinations": {"a": {"endpoint": "http://a"}},
        "sampling": {"ratio": 0.5},
    }
    before = resolve({Layer.REMOTE: LayerValue(remote, 1.0)})
    in_force = build({"sampling": {"ratio": 0.5}})
    assert offers.held_fragment(before, in_force, remote) == {"sampling": {"ratio": 0.5}}


def test_a_destination_without_an_address_is_named() -> None:
    before = resolve({})
    fragment = {"destinations": {"a": {"timeout_s": 1.0}}}
    after = resolve({Layer.REMOTE: LayerValue(fragment, 1.0)})
    assert [p.path for p in offers.new_problems(after, before)] == ["destinations.a.endpoint"]
