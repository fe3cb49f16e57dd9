from __future__ import annotations

import pytest

from llm_observe.opamp import events
from llm_observe.opamp.values import (
    AgentCapabilities,
    ConfigFile,
    ConfigState,
    ErrorKind,
    ServerCapabilities,
)


def test_undefined_bits_are_left_out() -> None:
    assert AgentCapabilities.from_wire(1 << 40 | 0x3) == AgentCapabilities(0x3)
    assert ServerCapabilities.from_wire(1 << 7 | 0x41) == ServerCapabilities(0x41)


def test_all_defined_bits_are_kept() -> None:
    assert AgentCapabilities.from_wire(0xFFFF) == 0xFFFF
    assert ServerCapabilities.from_wire(0x7F) == 0x7F


@pytest.mark.opamp("T-06", "R-08")
@pytest.mark.parametrize("number", [4, -1, 2**31 - 1])
def test_enum_numbers_of_the_future_read_as_unset_and_unknown(number: int) -> None:
    assert ConfigState.from_wire(number) is ConfigState.UNSET
    assert ErrorKind.from_wire(number) is ErrorKind.UNKNOWN


def test_bodies_do_not_show_in_a_repr() -> None:
    file = ConfigFile(b"token: hunter2", "text/plain")
    offer = events.ConfigOffered({"a": file}, b"hash")
    custom = events.CustomMessageReceived("com.example", "t", b"hunter2")
    assert "14 bytes" in repr(file)
    assert "hunter2" not in repr(offer) + repr(custom)
