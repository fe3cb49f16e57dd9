"""Our clients against opamp-go's server: what it says it received, and what we make of its answers."""

from __future__ import annotations

import base64
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from llm_observe.opamp import events
from llm_observe.opamp.io.driver import Driver
from llm_observe.opamp.io.polling import PollingClient
from llm_observe.opamp.io.websocket import WebSocketClient
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentDescription,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    Health,
)
from tests.interop.backends import needs_peers
from tests.interop.opamp_go import DEADLINE_S, Program, go

pytestmark = [pytest.mark.interop, needs_peers]
UID = uuid.UUID("0197f9a0-0000-7000-8000-000000000002")
HASH = bytes(range(32))
CAPABILITIES = (
    AgentCapabilities.REPORTS_STATUS
    | AgentCapabilities.ACCEPTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG
    | AgentCapabilities.REPORTS_HEALTH
    | AgentCapabilities.ACCEPTS_RESTART_COMMAND
)
OFFER = {
    "remoteConfig": {
        "config": {
            "configMap": {
                "llm-observe": {
                    "body": base64.b64encode(b'{"a": 1}').decode(),
                    "contentType": "application/json",
                }
            }
        },
        "configHash": base64.b64encode(HASH).decode(),
    }
}
CLIENTS: dict[str, tuple[str, Callable[..., Driver]]] = {
    "websocket": ("ws", WebSocketClient),
    "http": ("http", lambda *given, **more: PollingClient(*given, interval_s=0.2, **more)),
}


class Ears:
    """Takes the client's events and lets a test wait for one."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self._changed = threading.Condition()

    def __call__(self, event: Any) -> None:
        with self._changed:
            self.seen.append(event)
            self._changed.notify_all()

    def of(self, kind: type[Any]) -> Any:
        """The first event of a kind, now or to come."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: [event for event in self.seen if isinstance(event, kind)], DEADLINE_S
            )
        assert found, f"never: {kind.__name__}; saw {self.seen}"
        return found[0]


@contextmanager
def meeting(
    transport: str, *arguments: str, secure: bool = False, **options: Any
) -> Iterator[tuple[Driver, Ears, Program]]:
    scheme, make = CLIENTS[transport]
    ears = Ears()
    with go("server", *arguments) as server:
        address = server.event("listening")["address"]
        url = f"{scheme}{'s' if secure else ''}://{address}/v1/opamp"
        client = make(url, UID.bytes, CAPABILITIES, ears, **options)
        client.report(
            description=AgentDescription({"service.name": "chat"}, {"os.type": "linux"}),
            health=Health(True, 1, "", "running", 2, {}, {}),
            effective_config={"llm-observe": ConfigFile(b"{}", "application/json")},
        )
        client.start()
        try:
            yield client, ears, server
        finally:
            client.stop()


def _said(part: str, fits: Callable[[Any], Any] = bool) -> Callable[[dict[str, Any]], Any]:
    return lambda line: part in line.get("message", {}) and fits(line["message"][part])


@pytest.mark.opamp("C-01", "C-07", "R-04")
@pytest.mark.parametrize("compression", [(), ("-gzip",)], ids=["plain", "gzip"])
@pytest.mark.parametrize("transport", CLIENTS)
def test_it_hears_all_of_us_and_its_offer_is_acknowledged(
    transport: str, compression: tuple[str, ...]
) -> None:
    with meeting(transport, *compression) as (client, ears, server):
        first = server.hears("our description", _said("agentDescription"))["message"]
        assert base64.b64decode(first["instanceUid"]) == UID.bytes
        assert first["agentDescription"]["identifyingAttributes"] == [
            {"key": "service.name", "value": {"stringValue": "chat"}}
        ]
        assert first["health"]["status"] == "running"
        assert first["capabilities"] == str(int(CAPABILITIES))
        ears.of(events.Connected)
        server.tell("answer" if transport == "http" else "send", message=OFFER)
        offered = ears.of(events.ConfigOffered)
        assert offered.config_hash == HASH
        assert offered.files["llm-observe"].body == b'{"a": 1}'
        client.report(
            config_status=ConfigStatus(HASH, ConfigState.APPLIED, ""),
            effective_config={"llm-observe": ConfigFile(b'{"a": 1}', "application/json")},
        )
        server.hears(
            "our yes",
            _said("remoteConfigStatus", lambda told: told.get("status", "").endswith("_APPLIED")),
        )
        server.hears(
            "our effective config",
            _said(
                "effectiveConfig",
                lambda told: (
                    base64.b64decode(told["configMap"]["configMap"]["llm-observe"]["body"])
                    == b'{"a": 1}'
                ),
            ),
        )
        client.stop()
        server.hears("our goodbye", _said("agentDisconnect", lambda told: True))


@pytest.mark.opamp("Q-12", "U-06", "V-02")
@pytest.mark.parametrize("transport", CLIENTS)
def test_it_may_ask_for_everything_again_give_a_uid_and_restart(transport: str) -> None:
    with meeting(transport) as (_, ears, server):
        server.hears("our description", _said("agentDescription"))
        ears.of(events.Connected)
        order = "answer" if transport == "http" else "send"
        server.heard.clear()
        server.tell(order, message={"flags": "1"})
        again = server.hears("everything again", _said("agentDescription"))["message"]
        assert {"health", "effectiveConfig", "capabilities"} <= set(again)
        server.tell(order, message={"command": {"type": "CommandType_Restart"}})
        ears.of(events.RestartRequested)
        new = uuid.UUID("0197f9a0-0000-7000-8000-00000000000f")
        given = base64.b64encode(new.bytes).decode()
        server.tell(order, message={"agentIdentification": {"newInstanceUid": given}})
        assert ears.of(events.IdentityAssigned).instance_uid == new.bytes


@pytest.mark.parametrize("transport", CLIENTS)
def test_a_token_is_asked_for_and_tls_is_verified(transport: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    arguments = ["-cert", str(tmp_path / "cert.pem"), "-key", str(tmp_path / "key.pem")]
    arguments += ["-refuse", "401", "-token", "t0ken"]
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    headers = {"Authorization": "Bearer t0ken"}
    with meeting(transport, *arguments, secure=True, ssl_context=trusting, headers=headers) as (
        _,
        ears,
        server,
    ):
        server.hears("our description", _said("agentDescription"))
        ears.of(events.Connected)
    for wrong in ({"ssl_context": trusting}, {"headers": headers}):
        with meeting(transport, *arguments, secure=True, **wrong) as (client, ears, server):
            _until_failed(client)
            assert not client.state.connected
            assert not [event for event in ears.seen if isinstance(event, events.Connected)]
            assert [line["event"] for line in server.heard] == ["listening"]


def _until_failed(client: Driver) -> None:
    tick = threading.Event()
    for _ in range(int(DEADLINE_S / 0.05)):
        if client.state.last_error:
            return
        tick.wait(0.05)
    raise AssertionError("never: a failure")
