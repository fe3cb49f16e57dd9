"""Hostile bytes for every decoder: nothing but our own errors, and memory that stays bounded.

In the tests a hundred thousand inputs; ten million by::

    python -m tests.opamp.fuzz --inputs 10000000 --jobs 2
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from llm_observe.errors import RemoteProtocolError
from llm_observe.opamp import candidate, codec, connections_codec, parts, wire
from llm_observe.opamp._pb import anyvalue_pb2, opamp_pb2
from llm_observe.opamp.backoff import respecting
from llm_observe.opamp.candidate import Record
from llm_observe.opamp.connections import ConnectionOffer, ConnectionSettings, TLSSettings
from llm_observe.opamp.io.bodies import Inflater
from llm_observe.opamp.io.dialing import retry_after
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentDescription,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    ConnectionStatus,
    Health,
)
from tests.link import UID, make_client, make_server

LIMIT = 4096
"""The size limit that the decoders are given."""

GROWTH_BYTES = 64 * 1024 * 1024


def _agent_messages() -> Iterator[bytes]:
    """Proper messages of an agent, one for each part and one with everything."""
    values = {
        "description": AgentDescription({"a": "b", "n": [1, 2.5, True, b"x"]}, {"m": {"k": "v"}}),
        "health": Health(components={"c": Health(attributes={"a": {"b": ["c"]}})}),
        "effective_config": {"a": ConfigFile(b"{}", "application/json"), "": ConfigFile()},
        "config_status": ConfigStatus(b"h" * 32, ConfigState.FAILED, "why"),
        "components": Components(b"h", {"a": Component({"v": "1"}, {"b": Component()})}),
        "connection_status": ConnectionStatus(b"h", ConfigState.APPLIED),
        "custom_capabilities": frozenset({"com.example"}),
    }
    everything = opamp_pb2.AgentToServer(instance_uid=UID, sequence_num=300, capabilities=0xFFFF)
    everything.custom_message.CopyFrom(opamp_pb2.CustomMessage(capability="com.example", data=b"d"))
    for name, value in values.items():
        part = parts.BY_NAME[name]
        message = opamp_pb2.AgentToServer(instance_uid=UID, sequence_num=1, capabilities=0xFFFF)
        getattr(message, part.field).CopyFrom(part.to_pb(value))
        getattr(everything, part.field).CopyFrom(part.to_pb(value))
        yield message.SerializeToString()
    yield everything.SerializeToString()


def _server_messages() -> Iterator[bytes]:
    offer = ConnectionOffer(
        b"h",
        opamp=ConnectionSettings("wss://b", {"A": "b"}, TLSSettings("pem"), heartbeat_s=5),
        own_metrics=ConnectionSettings("https://m"),
        other={"db": ConnectionSettings("x", other={"a": "b"})},
    )
    config = opamp_pb2.AgentRemoteConfig(
        config=codec.files_to_pb({"a": ConfigFile(b"{}")}), config_hash=b"h"
    )
    yield opamp_pb2.ServerToAgent(
        instance_uid=UID,
        flags=3,
        capabilities=127,
        remote_config=config,
        connection_settings=connections_codec.offer_to_pb(offer),
        agent_identification=opamp_pb2.AgentIdentification(new_instance_uid=b"n" * 16),
        custom_message=opamp_pb2.CustomMessage(capability="com.example"),
    ).SerializeToString()
    error = opamp_pb2.ServerErrorResponse(type="ServerErrorResponseType_Unavailable")
    error.retry_info.retry_after_nanoseconds = 2**63
    yield opamp_pb2.ServerToAgent(error_response=error).SerializeToString()
    command = opamp_pb2.ServerToAgentCommand()
    yield opamp_pb2.ServerToAgent(instance_uid=UID, command=command).SerializeToString()


def _deep(levels: int) -> bytes:
    """An attribute value that nests: by hand, for a builder would take as long as it is deep."""
    data = b""
    for _ in range(levels):
        inner = b"\x0a" + _varint(len(data)) + data
        data = b"\x2a" + _varint(len(inner)) + inner
    return data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _records() -> Iterator[bytes]:
    active = ConnectionSettings("wss://b", {"A": "b"}, TLSSettings("pem"))
    yield candidate.to_bytes(Record(active, active, ConnectionStatus(b"h", ConfigState.APPLYING)))
    yield candidate.to_bytes(Record())


# ------------------------------------------------------------------------------------ the decoders


def _to_server(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        server = make_server(custom_capabilities=frozenset({"com.example"}))
        server.receive(wire.decode_agent(data, framed=False, limit=LIMIT))
        server.reply(0.0)


def _to_agent() -> Callable[[bytes], None]:
    client = make_client(_everything(), max_message_bytes=LIMIT)

    def receive(data: bytes) -> None:
        client.receive(wire.add_header(data))

    return receive


def _everything() -> AgentCapabilities:
    """Everything an agent can do, so that no part of a message is passed over."""
    return AgentCapabilities.from_wire(0xFFFF)


def _framed(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        wire.decode_agent(data, framed=True, limit=LIMIT)


def _value(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        value = wire.decode(data, anyvalue_pb2.AnyValue, framed=False, limit=LIMIT)
        codec.value_from_pb(value, codec.Budget())


def _inflated(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        inflater = Inflater(gzipped=True, limit=LIMIT)
        half = len(data) // 2
        inflater.feed(data[:half])
        inflater.feed(data[half:])
        assert len(inflater.finish()) <= LIMIT


def _hint(data: bytes) -> None:
    text = data.decode("latin-1")
    assert respecting(1.0, retry_after({"Retry-After": text}, 1.7e9), random.random) < 4000


def _record(data: bytes) -> None:
    with suppress(ValueError):
        candidate.resumed(candidate.from_bytes(data))


TARGETS: dict[str, tuple[tuple[bytes, ...], Callable[[bytes], None]]] = {
    "AgentToServer": (tuple(_agent_messages()), _to_server),
    "ServerToAgent": (tuple(_server_messages()), _to_agent()),
    "frame": (tuple(wire.add_header(m) for m in _agent_messages()), _framed),
    "AnyValue": (tuple(_deep(n) for n in (1, 5, 31, 40, 99, 300)), _value),
    "gzip": (tuple(gzip.compress(bytes(n)) for n in (0, 100, LIMIT, 10**6)), _inflated),
    "record": (tuple(_records()), _record),
    "Retry-After": ((b"120", b"Tue, 14 Nov 2023 22:13:50 GMT", b"14 Nov 2023 1:2 +0100"), _hint),
}


# --------------------------------------------------------------------------------------- the inputs


def _flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def _drop(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.randint(1, 8)]


def _double(data: bytearray, chance: random.Random) -> None:
    at, to = sorted((chance.randrange(len(data)), chance.randrange(len(data))))
    data[at:at] = data[at : to + 1] * chance.randint(1, 8)


def _insert(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data)) : 0] = chance.randbytes(chance.randint(1, 12))


def _number(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at : at + 1] = _varint(chance.choice((0, 127, 128, 2**31, 2**32 - 1, 2**63, 2**64 - 1)))


CHANGES = (_flip, _cut, _drop, _double, _insert, _number)


def mutated(seeds: tuple[bytes, ...], chance: random.Random) -> bytes:
    """A proper input, damaged once to three times."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 3)):
        if data:
            chance.choice(CHANGES)(data, chance)
    return bytes(data[: 2 * LIMIT])


def run(target: str, inputs: int, seed: int) -> None:
    """Feed one decoder. What it raises but our own errors goes through, with the input named."""
    seeds, feed = TARGETS[target]
    for data in seeds:
        feed(data)
    chance = random.Random(f"{target} {seed}")
    for number in range(inputs):
        data = mutated(seeds, chance)
        try:
            feed(data)
        except BaseException as error:
            error.add_note(f"{target}, seed {seed}, input {number}: {data.hex()}")
            raise


def _job(given: tuple[str, int, int]) -> tuple[str, int, float, int]:
    target, inputs, seed = given
    run(target, min(inputs, 1000), seed)  # warm
    before, began = _most_memory(), time.monotonic()
    run(target, inputs, seed)
    return target, inputs, time.monotonic() - began, _most_memory() - before


def _most_memory() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> int:
    """All decoders, in so many processes; non-zero where memory grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    given = parser.parse_args()
    each = -(-given.inputs // (len(TARGETS) * given.jobs))
    work = [(t, each, given.seed + j) for j in range(given.jobs) for t in TARGETS]
    grew = 0
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=1) as pool:
        for target, inputs, seconds, growth in pool.imap_unordered(_job, work):
            grew = max(grew, growth)
            print(f"{target}: {inputs} inputs in {seconds:.1f} s, memory +{growth // 1024} KiB")
    print(f"seed {given.seed}; the most that memory grew: {grew // 1024} KiB")
    return int(grew > GROWTH_BYTES)


if __name__ == "__main__":
    sys.exit(main())
