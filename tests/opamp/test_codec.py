from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.errors import MalformedMessage
from llm_observe.opamp import codec
from llm_observe.opamp._pb import anyvalue_pb2, opamp_pb2
from llm_observe.opamp.values import (
    AgentDescription,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    Health,
    Value,
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.binary(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple), st.dictionaries(st.text(max_size=3), inner)
    ),
    max_leaves=8,
)


@pytest.mark.opamp("D-08")
@given(VALUES)
@settings(max_examples=40, deadline=None)
def test_a_value_of_any_kind_survives_the_trip(value: Value) -> None:
    back = codec.value_from_pb(codec.value_to_pb(value), codec.Budget())
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(("value", "error"), [(object(), TypeError), (2**63, ValueError)])
def test_a_value_that_anyvalue_has_no_place_for_is_refused(
    value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        codec.value_to_pb(value)


def nested_value(depth: int) -> anyvalue_pb2.AnyValue:
    value = anyvalue_pb2.AnyValue(string_value="bottom")
    for _ in range(depth):
        outer = anyvalue_pb2.AnyValue()
        outer.array_value.values.append(value)
        value = outer
    return value


def nested_health(depth: int) -> opamp_pb2.ComponentHealth:
    health = opamp_pb2.ComponentHealth(healthy=True)
    for _ in range(depth):
        health = opamp_pb2.ComponentHealth(component_health_map={"c": health})
    return health


def nested_component(depth: int) -> opamp_pb2.ComponentDetails:
    details = opamp_pb2.ComponentDetails()
    for _ in range(depth):
        details = opamp_pb2.ComponentDetails(sub_component_map={"c": details})
    return details


@pytest.mark.opamp("N-04", "N-08")
def test_nesting_is_read_down_to_the_limit_and_no_deeper() -> None:
    deepest = codec.MAX_DEPTH - 1
    codec.value_from_pb(nested_value(deepest), codec.Budget())
    codec.health_from_pb(nested_health(deepest))
    components = {"c": nested_component(deepest)}
    codec.components_from_pb(opamp_pb2.AvailableComponents(components=components))
    with pytest.raises(MalformedMessage, match="too deep"):
        codec.value_from_pb(nested_value(deepest + 1), codec.Budget())
    with pytest.raises(MalformedMessage, match="too deep"):
        codec.health_from_pb(nested_health(deepest + 1))
    components = {"c": nested_component(deepest + 1)}
    with pytest.raises(MalformedMessage, match="too deep"):
        codec.components_from_pb(opamp_pb2.AvailableComponents(components=components))


def test_what_we_would_nest_too_deep_is_refused_before_it_is_sent() -> None:
    value: Value = "bottom"
    health, component = Health(), Component()
    for _ in range(codec.MAX_DEPTH):
        value, health = (value,), Health(components={"c": health})
        component = Component(components={"c": component})
    with pytest.raises(ValueError, match="deeper"):
        codec.value_to_pb(value)
    with pytest.raises(ValueError, match="deeper"):
        codec.health_to_pb(health)
    with pytest.raises(ValueError, match="deeper"):
        codec.components_to_pb(Components(b"h", {"c": component}))


@pytest.mark.opamp("N-08")
def test_a_message_has_a_budget_of_values() -> None:
    pb = anyvalue_pb2.AnyValue()
    pb.array_value.values.extend(anyvalue_pb2.AnyValue() for _ in range(10))
    assert codec.value_from_pb(pb, codec.Budget(11)) == (None,) * 10
    with pytest.raises(MalformedMessage, match="too many"):
        codec.value_from_pb(pb, codec.Budget(10))


PARTS: list[tuple[Any, Any, Any]] = [
    (
        codec.description_to_pb,
        codec.description_from_pb,
        AgentDescription({"service.name": "x"}, {"os.type": "linux", "tags": ("a", "b")}),
    ),
    (
        codec.health_to_pb,
        codec.health_from_pb,
        Health(False, 7, "broken", "down", 2**64 - 1, {"db": Health()}, {"a": 1}),
    ),
    (
        codec.effective_to_pb,
        codec.effective_from_pb,
        {"": ConfigFile(b"\xff", ""), "a": ConfigFile(b"{}", "application/json")},
    ),
    (codec.effective_to_pb, codec.effective_from_pb, {}),
    (
        codec.status_to_pb,
        codec.status_from_pb,
        ConfigStatus(b"hash", ConfigState.FAILED, "sampling.ratio: found 2"),
    ),
    (
        codec.components_to_pb,
        codec.components_from_pb,
        Components(b"h", {"a": Component({"v": "1"}, {"b": Component()})}),
    ),
    (codec.components_to_pb, codec.components_from_pb, Components(b"h")),
    (codec.custom_to_pb, codec.custom_from_pb, frozenset({"com.example.a", "com.example.b"})),
]


@pytest.mark.opamp("M-01", "M-02", "M-03", "M-04", "M-06", "R-08", "R-09", "N-03", "N-05")
@pytest.mark.parametrize(("encode", "decode", "value"), PARTS)
def test_a_part_survives_the_trip(encode: Any, decode: Any, value: Any) -> None:
    assert decode(encode(value)) == value


def test_equal_attributes_make_equal_bytes_in_whatever_order_they_were_given() -> None:
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert codec.attributes_to_pb(one) == codec.attributes_to_pb(other)
