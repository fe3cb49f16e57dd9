"""What the provider for 2.x reads from that client's objects; these are stand-ins for them.

The client itself is driven by the matrix, where it is installed.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.providers.replicate2 import Replicate2

PROVIDER = Replicate2()
TARGETS = {target.name: target for target in PROVIDER.targets if target.request is not None}
MODEL = "meta/llama-2-7b-chat"
INPUT = {"prompt": "Where?", "system_prompt": "Be brief.", "temperature": 0.5}
CLIENT = SimpleNamespace(_base_url="https://api.example.com:8443/v1/")


class Identifier(NamedTuple):
    owner: str
    name: str
    version: str | None = None


def begun(name: str, *args: Any, instance: Any = None, module: str = "", **kwargs: Any) -> Call:
    (target,) = [t for t in PROVIDER.targets if t.name == name and t.module.endswith(module)]
    assert target.request is not None
    return target.request(instance, args, kwargs)


def prediction(**known: Any) -> Any:
    """As pydantic's second version keeps it: what the server added stands apart."""
    metrics = SimpleNamespace(total_time=1.5)
    metrics.__pydantic_extra__ = {"input_token_count": 7, "output_token_count": 3}
    fields: dict[str, Any] = {
        "id": "p1",
        "model": MODEL,
        "version": "v1",
        "status": "succeeded",
        "output": ["In", " Peru", "."],
        "urls": object(),
        "metrics": metrics,
        "created_at": datetime(2026, 1, 1, 0, 0, 0, tzinfo=UTC),
        "started_at": datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC),
    }
    return SimpleNamespace(**{**fields, **known})


def ended(call: Call) -> Call:
    PROVIDER.end(call)
    call.settle()
    return call


@pytest.mark.parametrize(
    ("ref", "model", "version"),
    [
        (MODEL, MODEL, ""),
        (f"{MODEL}:v1", MODEL, "v1"),
        (SimpleNamespace(owner="meta", name="llama-2-7b-chat"), MODEL, ""),
        (Identifier("meta", "llama-2-7b-chat", "v1"), MODEL, "v1"),
        (SimpleNamespace(id="v1"), "", "v1"),
    ],
)
def test_run_reads_every_kind_of_reference(ref: Any, model: str, version: str) -> None:
    for name in ("run", "async_run"):
        call = begun(name, CLIENT, ref, input=INPUT)
        assert (call.request_model, call.model_version) == (model, version)
        assert (call.server_address, call.server_port) == ("api.example.com", 8443)


@pytest.mark.parametrize(
    ("given", "model", "version"), [("v1", "", "v1"), (f"{MODEL}:v1", MODEL, "v1")]
)
def test_create_reads_a_version_with_and_without_its_model(
    given: str, model: str, version: str
) -> None:
    call = begun(
        "PredictionsResource.create",
        instance=SimpleNamespace(_client=CLIENT),
        module="resources.predictions",
        version=given,
        input=INPUT,
    )
    assert (call.request_model, call.model_version) == (model, version)


def test_create_of_a_model_and_of_a_deployment_name_it() -> None:
    here = SimpleNamespace(_client=CLIENT)
    name = "AsyncPredictionsResource.create"
    call = begun(
        name,
        instance=here,
        module="models.predictions",
        model_owner="meta",
        model_name="llama-2-7b-chat",
        input=INPUT,
    )
    assert call.request_model == MODEL
    call = begun(
        name,
        instance=here,
        module="deployments.predictions",
        deployment_owner="acme",
        deployment_name="chat",
        input=INPUT,
    )
    assert call.request_model == "acme/chat"


class Unread:
    """An iterator that somebody may hand to `use` as an input."""

    def __iter__(self) -> Any:
        raise AssertionError("it was read")

    __str__ = __iter__


class Function:
    """What `use` returns; it would make a client if it were asked for its own."""

    _ref = f"{MODEL}:v1"

    @property
    def _client(self) -> Any:
        raise AssertionError("a client was made")


def test_use_takes_the_inputs_as_they_are_and_makes_no_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REPLICATE_BASE_URL", "http://127.0.0.1:5320/v1")
    for name in ("Function.create", "AsyncFunction.create"):
        call = begun(name, instance=Function(), prompt="Where?", other=Unread())
        assert (call.request_model, call.model_version) == (MODEL, "v1")
        assert (call.server_address, call.server_port) == ("127.0.0.1", 5320)
        call = ended(call)
        assert call.input == [Message("user", "Where?")]
        assert call.extra_input == {"other": "<Unread>"}


def test_numbers_come_from_the_newest_prediction() -> None:
    call = begun("run", CLIENT, MODEL, input=INPUT)
    PROVIDER.part(call, prediction(status="starting", output=None, metrics=None))
    assert not PROVIDER.over(call)
    PROVIDER.part(call, prediction())
    assert PROVIDER.over(call)
    assert PROVIDER.keys(call) == ("p1",)
    call = ended(call)
    assert (call.input_tokens, call.output_tokens, call.queue_ms) == (7, 3, 2000.0)
    assert call.output == [Message("assistant", "In Peru.")]
    assert (call.response_id, call.response_model) == ("p1", MODEL)


def test_what_is_no_prediction_is_passed_over() -> None:
    call = begun("run", CLIENT, MODEL, input=INPUT)
    for value in ("text", None, SimpleNamespace(id="m", owner="meta"), SimpleNamespace(headers={})):
        PROVIDER.part(call, value)
    assert call.response_id == ""
    assert ended(call).output == []


class Run:
    def __init__(self, newest: Any) -> None:
        self._prediction = newest


def test_the_object_of_use_is_asked_for_its_newest_prediction_until_it_is_gone() -> None:
    call = begun("Function.create", instance=Function(), prompt="Where?")
    run = Run(prediction(status="processing", output=["In"], metrics=None))
    PROVIDER.part(call, run)
    assert not PROVIDER.over(call)
    run._prediction = prediction()
    PROVIDER.part(call, "In Peru.")  # what its `output` returned
    assert PROVIDER.over(call)
    del run
    assert ended(call).output_tokens == 3


def test_a_prediction_without_numbers_is_counted_by_its_pieces() -> None:
    call = begun("run", CLIENT, MODEL, input=INPUT)
    PROVIDER.part(call, prediction(metrics=None))
    call = ended(call)
    assert (call.output_tokens, call.tokens_estimated) == (3, True)


def test_a_hidden_version_is_none() -> None:
    call = begun("run", CLIENT, f"{MODEL}:v1", input=INPUT)
    PROVIDER.part(call, prediction(version="hidden"))
    assert ended(call).model_version == "v1"


class AsyncFileOutput:
    url = "https://files.example.com/1.png"


def test_files_of_the_asynchronous_client_are_files() -> None:
    call = begun("async_run", CLIENT, MODEL, input=INPUT)
    PROVIDER.result(call, [AsyncFileOutput()])
    assert ended(call).output == [Message("assistant", "", (AsyncFileOutput.url,))]


def test_every_surface_has_its_asynchronous_twin() -> None:
    kinds = Counter[str](target.kind for target in PROVIDER.targets)
    plain = {kind: n for kind, n in kinds.items() if not kind.startswith("async_")}
    assert {kind: kinds[f"async_{kind}"] for kind in plain} == plain
    follows = [target for target in PROVIDER.targets if "follow" in target.kind]
    assert all(target.request is None for target in follows)
