"""OpAMP, usable on its own: nothing of LLMs, no OpenTelemetry.

The core (`client.ClientProtocol`, `server.ServerProtocol`) takes bytes and time and returns bytes
and `events`; it owns no socket, thread or clock. Drivers are in `llm_observe.opamp.io`.
"""

from llm_observe.opamp import events
from llm_observe.opamp.client import ClientProtocol
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
    ErrorKind,
    Health,
    ServerCapabilities,
    Value,
)

__all__ = [
    "AgentCapabilities",
    "AgentDescription",
    "AgentState",
    "ClientProtocol",
    "Component",
    "Components",
    "ConfigFile",
    "ConfigState",
    "ConfigStatus",
    "ErrorKind",
    "Health",
    "ServerCapabilities",
    "ServerProtocol",
    "Value",
    "events",
]
