"""OpAMP, usable on its own: nothing of LLMs, no OpenTelemetry.

The core (`ClientProtocol`, `ServerProtocol`) takes bytes and time and returns bytes and `events`;
it owns no socket, thread or clock. Drivers are in `llm_observe.opamp.io`: the threaded client
`OpAMPClient`, and the ASGI application `OpAMPServer`. Names load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_observe.opamp import events
    from llm_observe.opamp.candidate import Rules
    from llm_observe.opamp.client import ClientProtocol
    from llm_observe.opamp.connections import (
        ConnectionOffer,
        ConnectionSettings,
        ProxySettings,
        TLSSettings,
    )
    from llm_observe.opamp.io.asgi import AgentLink, Handler, OpAMPServer
    from llm_observe.opamp.io.client import OpAMPClient
    from llm_observe.opamp.io.driver import ClientState
    from llm_observe.opamp.io.memory import MemoryPair
    from llm_observe.opamp.io.polling import PollingClient
    from llm_observe.opamp.io.store import FileStore, MemoryStore, OfferStore
    from llm_observe.opamp.io.websocket import WebSocketClient
    from llm_observe.opamp.server import ServerProtocol
    from llm_observe.opamp.values import (
        AgentCapabilities,
        AgentDescription,
        AgentState,
        Component,
        Components,
        ConfigFile,
        ConfigState,
        ConfigStatus,
        ConnectionStatus,
        ErrorKind,
        Health,
        ServerCapabilities,
        Value,
    )
    from llm_observe.uids import new_uid, uid_text

__all__ = [
    "AgentCapabilities",
    "AgentDescription",
    "AgentLink",
    "AgentState",
    "ClientProtocol",
    "ClientState",
    "Component",
    "Components",
    "ConfigFile",
    "ConfigState",
    "ConfigStatus",
    "ConnectionOffer",
    "ConnectionSettings",
    "ConnectionStatus",
    "ErrorKind",
    "FileStore",
    "Handler",
    "Health",
    "MemoryPair",
    "MemoryStore",
    "OfferStore",
    "OpAMPClient",
    "OpAMPServer",
    "PollingClient",
    "ProxySettings",
    "Rules",
    "ServerCapabilities",
    "ServerProtocol",
    "TLSSettings",
    "Value",
    "WebSocketClient",
    "events",
    "new_uid",
    "uid_text",
]

_VALUES = "llm_observe.opamp.values"
_HOMES = {
    "AgentLink": "llm_observe.opamp.io.asgi",
    "ClientProtocol": "llm_observe.opamp.client",
    "ClientState": "llm_observe.opamp.io.driver",
    "ConnectionOffer": "llm_observe.opamp.connections",
    "ConnectionSettings": "llm_observe.opamp.connections",
    "FileStore": "llm_observe.opamp.io.store",
    "Handler": "llm_observe.opamp.io.asgi",
    "MemoryPair": "llm_observe.opamp.io.memory",
    "MemoryStore": "llm_observe.opamp.io.store",
    "OfferStore": "llm_observe.opamp.io.store",
    "OpAMPClient": "llm_observe.opamp.io.client",
    "OpAMPServer": "llm_observe.opamp.io.asgi",
    "PollingClient": "llm_observe.opamp.io.polling",
    "ProxySettings": "llm_observe.opamp.connections",
    "Rules": "llm_observe.opamp.candidate",
    "ServerProtocol": "llm_observe.opamp.server",
    "TLSSettings": "llm_observe.opamp.connections",
    "WebSocketClient": "llm_observe.opamp.io.websocket",
    "new_uid": "llm_observe.uids",
    "uid_text": "llm_observe.uids",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "events":
        return importlib.import_module("llm_observe.opamp.events")
    value = getattr(importlib.import_module(_HOMES.get(name, _VALUES)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
