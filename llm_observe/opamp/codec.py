"""Values to protobuf messages and back.

Decoding is bounded: attribute values, health and components nest without end on the wire, so each
message has a budget of depth and of nodes, and beyond it is malformed (`MalformedMessage`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from llm_observe.errors import MalformedMessage
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

MAX_DEPTH = 32
"""How deep values, health and components may nest."""

MAX_NODES = 200_000
"""How many values, health records and components one message may hold."""

INT64 = range(-(2**63), 2**63)


class Budget:
    """What is left of the bounds while one message is read."""

    def __init__(self, nodes: int = MAX_NODES) -> None:
        self.nodes = nodes

    def spend(self, depth: int) -> int:
        """Take one node at ``depth``; returns the depth of its children."""
        self.nodes -= 1
        if depth >= MAX_DEPTH or self.nodes < 0:
            raise MalformedMessage("nested too deep" if self.nodes >= 0 else "too many values")
        return depth + 1


# ------------------------------------------------------------------------------ attribute values


def value_to_pb(value: Value, depth: int = 0) -> anyvalue_pb2.AnyValue:
    """An attribute's value as AnyValue.

    Raises `TypeError` for a type that AnyValue has no place for, and `ValueError` for an integer
    beyond 64 bits or nesting beyond `MAX_DEPTH`.
    """
    if depth >= MAX_DEPTH:
        raise ValueError(f"attribute values nest deeper than {MAX_DEPTH}")
    if isinstance(value, bool):  # before int: True is an int to Python
        return anyvalue_pb2.AnyValue(bool_value=value)
    if value is None:
        return anyvalue_pb2.AnyValue()
    for kind, convert in _TO_PB:
        if isinstance(value, kind):
            return convert(value, depth)
    raise TypeError(f"an attribute value cannot be a {type(value).__name__}")


def _int_to_pb(value: int, _depth: int) -> anyvalue_pb2.AnyValue:
    if value not in INT64:
        raise ValueError("an attribute's integer must fit 64 bits")
    return anyvalue_pb2.AnyValue(int_value=value)


def _array_to_pb(value: Sequence[Value], depth: int) -> anyvalue_pb2.AnyValue:
    values = [value_to_pb(item, depth + 1) for item in value]
    return anyvalue_pb2.AnyValue(array_value=anyvalue_pb2.ArrayValue(values=values))


def _mapping_to_pb(value: Mapping[str, Value], depth: int) -> anyvalue_pb2.AnyValue:
    pairs = attributes_to_pb(value, depth + 1)
    return anyvalue_pb2.AnyValue(kvlist_value=anyvalue_pb2.KeyValueList(values=pairs))


_TO_PB: tuple[tuple[type, Callable[..., anyvalue_pb2.AnyValue]], ...] = (
    (str, lambda value, _: anyvalue_pb2.AnyValue(string_value=value)),
    (int, _int_to_pb),
    (float, lambda value, _: anyvalue_pb2.AnyValue(double_value=value)),
    (bytes, lambda value, _: anyvalue_pb2.AnyValue(bytes_value=value)),
    (Mapping, _mapping_to_pb),
    (Sequence, _array_to_pb),
)


def value_from_pb(pb: anyvalue_pb2.AnyValue, budget: Budget, depth: int = 0) -> Value:
    """AnyValue to str, bool, int, float, bytes, tuple, mapping, or None where nothing is set."""
    below = budget.spend(depth)
    kind = pb.WhichOneof("value")
    if kind == "array_value":
        return tuple(value_from_pb(item, budget, below) for item in pb.array_value.values)
    if kind == "kvlist_value":
        return attributes_from_pb(pb.kvlist_value.values, budget, below)
    scalar: Value = None if kind is None else getattr(pb, kind)
    return scalar


def attributes_to_pb(
    attributes: Mapping[str, Value], depth: int = 0
) -> list[anyvalue_pb2.KeyValue]:
    """Attributes in the order of their keys, so that equal mappings make equal messages."""
    return [
        anyvalue_pb2.KeyValue(key=key, value=value_to_pb(attributes[key], depth))
        for key in sorted(attributes)
    ]


def attributes_from_pb(
    pairs: Iterable[anyvalue_pb2.KeyValue], budget: Budget, depth: int = 0
) -> Mapping[str, Value]:
    """Attributes by key; of a repeated key the last counts."""
    return {p.key: value_from_pb(p.value, budget, depth) for p in pairs}


# --------------------------------------------------------------------------------- status parts


def description_to_pb(value: AgentDescription) -> opamp_pb2.AgentDescription:
    """See `AgentDescription`."""
    return opamp_pb2.AgentDescription(
        identifying_attributes=attributes_to_pb(value.identifying),
        non_identifying_attributes=attributes_to_pb(value.non_identifying),
    )


def description_from_pb(pb: opamp_pb2.AgentDescription) -> AgentDescription:
    """See `AgentDescription`."""
    budget = Budget()
    return AgentDescription(
        attributes_from_pb(pb.identifying_attributes, budget),
        attributes_from_pb(pb.non_identifying_attributes, budget),
    )


def health_to_pb(value: Health, depth: int = 0) -> opamp_pb2.ComponentHealth:
    """See `Health`. Raises `ValueError` for nesting beyond `MAX_DEPTH`."""
    if depth >= MAX_DEPTH:
        raise ValueError(f"components nest deeper than {MAX_DEPTH}")
    return opamp_pb2.ComponentHealth(
        healthy=value.healthy,
        start_time_unix_nano=value.start_time_unix_nano,
        last_error=value.last_error,
        status=value.status,
        status_time_unix_nano=value.status_time_unix_nano,
        component_health_map={k: health_to_pb(v, depth + 1) for k, v in value.components.items()},
        attributes=attributes_to_pb(value.attributes),
    )


def health_from_pb(
    pb: opamp_pb2.ComponentHealth, budget: Budget | None = None, depth: int = 0
) -> Health:
    """See `Health`."""
    budget = budget or Budget()
    below = budget.spend(depth)
    children = pb.component_health_map
    return Health(
        healthy=pb.healthy,
        start_time_unix_nano=pb.start_time_unix_nano,
        last_error=pb.last_error,
        status=pb.status,
        status_time_unix_nano=pb.status_time_unix_nano,
        components={name: health_from_pb(children[name], budget, below) for name in children},
        attributes=attributes_from_pb(pb.attributes, budget),
    )


def files_to_pb(files: Mapping[str, ConfigFile]) -> opamp_pb2.AgentConfigMap:
    """Named entries to a config map."""
    entries = {
        name: opamp_pb2.AgentConfigObject(body=file.body, content_type=file.content_type)
        for name, file in files.items()
    }
    return opamp_pb2.AgentConfigMap(config_map=entries)


def files_from_pb(pb: opamp_pb2.AgentConfigMap) -> Mapping[str, ConfigFile]:
    """A config map to named entries."""
    if len(pb.config_map) > MAX_NODES:
        raise MalformedMessage("too many values")
    return {
        name: ConfigFile(entry.body, entry.content_type) for name, entry in pb.config_map.items()
    }


def effective_to_pb(files: Mapping[str, ConfigFile]) -> opamp_pb2.EffectiveConfig:
    """The configuration in force."""
    return opamp_pb2.EffectiveConfig(config_map=files_to_pb(files))


def effective_from_pb(pb: opamp_pb2.EffectiveConfig) -> Mapping[str, ConfigFile]:
    """The configuration in force."""
    return files_from_pb(pb.config_map)


def status_to_pb(value: ConfigStatus) -> opamp_pb2.RemoteConfigStatus:
    """See `ConfigStatus`."""
    return opamp_pb2.RemoteConfigStatus(
        last_remote_config_hash=value.hash,
        status=opamp_pb2.RemoteConfigStatuses.Name(value.state),
        error_message=value.error,
    )


def status_from_pb(pb: opamp_pb2.RemoteConfigStatus) -> ConfigStatus:
    """See `ConfigStatus`."""
    state = ConfigState.from_wire(pb.status)
    return ConfigStatus(pb.last_remote_config_hash, state, pb.error_message)


def components_to_pb(value: Components) -> opamp_pb2.AvailableComponents:
    """See `Components`."""
    pb = opamp_pb2.AvailableComponents(hash=value.hash)
    for name, component in (value.components or {}).items():
        pb.components[name].CopyFrom(_component_to_pb(component, 0))
    return pb


def _component_to_pb(value: Component, depth: int) -> opamp_pb2.ComponentDetails:
    if depth >= MAX_DEPTH:
        raise ValueError(f"components nest deeper than {MAX_DEPTH}")
    return opamp_pb2.ComponentDetails(
        metadata=attributes_to_pb(value.metadata),
        sub_component_map={
            name: _component_to_pb(child, depth + 1) for name, child in value.components.items()
        },
    )


def components_from_pb(pb: opamp_pb2.AvailableComponents) -> Components:
    """See `Components`; without entries only the hash is known."""
    if not pb.components:
        return Components(pb.hash)
    budget = Budget()
    return Components(
        pb.hash,
        {name: _component_from_pb(pb.components[name], budget, 0) for name in pb.components},
    )


def _component_from_pb(pb: opamp_pb2.ComponentDetails, budget: Budget, depth: int) -> Component:
    below = budget.spend(depth)
    children = pb.sub_component_map
    return Component(
        attributes_from_pb(pb.metadata, budget),
        {name: _component_from_pb(children[name], budget, below) for name in children},
    )


def custom_to_pb(capabilities: frozenset[str]) -> opamp_pb2.CustomCapabilities:
    """The custom capabilities of one side, sorted."""
    return opamp_pb2.CustomCapabilities(capabilities=sorted(capabilities))


def custom_from_pb(pb: opamp_pb2.CustomCapabilities) -> frozenset[str]:
    """The custom capabilities of one side."""
    return frozenset(pb.capabilities)
