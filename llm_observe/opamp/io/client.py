"""The OpAMP client whose line may change while it runs: transport, endpoint, headers, TLS, proxy.

::

    with OpAMPClient("ws://127.0.0.1:4320/v1/opamp", new_uid(), capabilities, on_event) as client:
        client.report(health=Health())

With a store it also takes offers of an OpAMP connection: keeps the candidate, connects with it,
and either stays or goes back to the connection before (OpAMP, "OpAMP Connection Setting Offer
Flow"). Offers of own telemetry and other connections are handed on; answer them by
`OpAMPClient.settle`.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace

from llm_observe.opamp import candidate, wire
from llm_observe.opamp.candidate import Record, Rules
from llm_observe.opamp.client import ClientProtocol
from llm_observe.opamp.connections import ConnectionOffer
from llm_observe.opamp.events import ClientEvent, ConnectionSettingsOffered
from llm_observe.opamp.io.driver import Around, Driver, Headers, Transport
from llm_observe.opamp.io.endpoint import Endpoint, combined, transport_for
from llm_observe.opamp.io.store import MemoryStore, OfferStore
from llm_observe.opamp.io.websocket import PING_S
from llm_observe.opamp.values import AgentCapabilities, ConfigState

VERIFY_S = 30.0
"""How long a candidate has to show that it works."""

TRIES = 3
"""Vain attempts after which a candidate is given up before its time."""


class OpAMPClient(Driver):
    """An agent's conversation with an OpAMP server, over either transport, until `stop`.

    ``url`` decides: ws and wss are WebSockets, http and https are polled. ``headers`` may be a
    function, asked whenever a line or a request is opened. ``on_event`` is called on the driver's
    thread; what it raises is logged and dropped. ``around`` makes a context manager that each
    thread of the client works in.

    An OpAMP connection that is offered is taken only with a ``store`` and the capability
    ``ACCEPTS_OPAMP_CONNECTION_SETTINGS``; ``rules`` say what it may do.
    """

    def __init__(
        self,
        url: str,
        instance_uid: bytes,
        capabilities: AgentCapabilities,
        on_event: Callable[[ClientEvent], None],
        *,
        headers: Headers = {},  # noqa: B006  # never written to
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        heartbeat_s: float = 30.0,
        ping_s: float = PING_S,
        max_message_bytes: int = wire.MAX_MESSAGE_BYTES,
        store: OfferStore | None = None,
        rules: Rules = Rules(),  # noqa: B008  # frozen
        verify_s: float = VERIFY_S,
        around: Around = nullcontext,
        logger: logging.Logger | None = None,
    ) -> None:
        if store is None:
            capabilities &= ~AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS
        self._ping_s = ping_s
        self._base = Endpoint(url, headers, ssl_context, proxy)
        self._store = store or MemoryStore()
        self._rules = rules
        self._verify_s = verify_s
        # Guards the record; taken before the driver's condition, never after it.
        self._offers = threading.RLock()
        self._tries = 0
        self._timer: threading.Timer | None = None
        protocol = ClientProtocol(
            instance_uid,
            capabilities,
            heartbeat_s=heartbeat_s,
            max_message_bytes=max_message_bytes,
        )
        base = self._transport_for(self._base, protocol)
        super().__init__(base, protocol, on_event, around=around, logger=logger)
        self._record = candidate.within(candidate.resumed(self._load()), url, rules)
        self._resumed = False

    # ------------------------------------------------------------------------- the caller's side

    @property
    def url(self) -> str:
        """Where it connects to now."""
        with self._offers:
            settings = self._record.wanted
            return self._base.url if settings is None else settings.endpoint

    def reconnect(
        self,
        url: str | None = None,
        *,
        headers: Headers | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        """Go on over another line: with another token, at another address, over the other transport.

        What is None stays. The agent says goodbye on the line that stands, closes it, and reports
        everything on the new one; nothing of its state is lost. A connection that a server
        offered before is given up for it. Raises `ValueError` for an address that is none.
        """
        with self._offers:
            base = Endpoint(
                self._base.url if url is None else url,
                self._base.headers if headers is None else headers,
                ssl_context or self._base.ssl_context,
                proxy or self._base.proxy,
            )
            self.move(self._transport_for(base, self.protocol))
            self._base = base
            self._stop_timer()
            if self._record.wanted is not None:
                self._keep(replace(self._record, active=None, candidate=None))

    def settle(self, settings_hash: bytes, errors: Mapping[str, str] | None = None) -> None:
        """Say what became of the offer of own telemetry and other connections with this hash.

        ``errors`` names what could not be done, by ``own_metrics`` and the like; nothing there
        means that all of it is in force.
        """
        lines = [f"{name}: {text}" for name, text in (errors or {}).items()]
        with self._offers:
            self._keep(candidate.rest_settled(self._record, settings_hash, lines))

    def start(self) -> None:
        """Begin to connect, with a connection that was offered before if there is one.

        Returns at once, and never raises for an absent server. A second call does nothing; after
        `stop` it raises `LocalProtocolError`.
        """
        with self._offers:
            if not self._resumed:
                self._resumed = True
                self._resume()
        super().start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Say goodbye, close, and wait for the thread at most ``timeout_s``. Idempotent."""
        with self._offers:
            self._stop_timer()
        super().stop(timeout_s)

    def after_fork_in_child(self, instance_uid: bytes) -> None:
        """Become another agent, in a child; the record of offers stays the parent's."""
        self._offers, self._timer = threading.RLock(), None
        self._store = MemoryStore()
        super().after_fork_in_child(instance_uid)

    # ---------------------------------------------------------------------------- what is offered

    def emit(self, event: ClientEvent) -> None:
        """Take an offer of an OpAMP connection; hand on everything else."""
        if not isinstance(event, ConnectionSettingsOffered):
            super().emit(event)
            return
        self._offered(event.offer, event.left_out)
        if candidate.has_rest(event.offer):
            super().emit(ConnectionSettingsOffered(replace(event.offer, opamp=None)))

    def _offered(self, offer: ConnectionOffer, left_out: frozenset[str]) -> None:
        with self._offers:
            former = self._record
            record = candidate.offered(former, offer, self.url, self._rules, left_out)
            try:
                transport = self._line_for(record)
                self._store.save(candidate.to_bytes(record))
            except (OSError, ValueError) as error:
                record = _impossible(record, error)
                transport = self._line_for(record)
            self._keep(record)
            if record.wanted != former.wanted:
                self._try(transport)

    def _try(self, transport: Transport) -> None:
        """Connect with the candidate, or with the connection before."""
        self._tries = 0
        self._stop_timer()
        self.move(transport)

    def take_next(self) -> bool:
        """Go over to the line that was asked for; the time of a candidate begins."""
        taken = super().take_next()
        with self._offers:
            if taken and self._record.candidate is not None and not self.moving:
                self._stop_timer()
                self._timer = threading.Timer(self._verify_s, self._give_up, ["no answer in time"])
                self._timer.daemon = True
                self._timer.start()
        return taken

    def answered(self) -> None:
        """The server on this line answered: a candidate has shown that it works."""
        with self._offers:
            if self._record.candidate is not None and not self.moving:
                self._stop_timer()
                self._keep(candidate.verified(self._record))

    def session_ended(self, trouble: str) -> None:
        """A line ended or could not be opened: a candidate has so many tries."""
        with self._offers:
            if self._record.candidate is None or self.leaving:
                return
            self._tries += 1
            if self._tries >= TRIES:
                self._give_up(trouble)

    def _give_up(self, trouble: str) -> None:
        with self._offers:
            if self._record.candidate is None or self.stopping:
                return  # a restart tries it anew
            self._stop_timer()
            self._keep(candidate.failed(self._record, trouble))
            self.move(self._line_for(self._record))

    def _keep(self, record: Record) -> None:
        """To the store first, then to the server."""
        if record == self._record:
            return
        self._record = record
        try:
            self._store.save(candidate.to_bytes(record))
        except OSError as error:  # a restart begins at the record before, which is safe
            self.logger.warning("! the record of connections was not saved: %s", error)
        self.report(connection_status=record.status)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    # ------------------------------------------------------------------------------- the beginning

    def _load(self) -> Record:
        try:
            data = self._store.load()
            return Record() if data is None else candidate.from_bytes(data)
        except (OSError, ValueError) as error:
            self.logger.warning("! the record of connections cannot be read: %s", error)
            return Record()

    def _resume(self) -> None:
        """Go on where the process before left off."""
        if self._record.status.state is not ConfigState.UNSET:
            self.report(connection_status=self._record.status)
        if self._record.wanted is None:
            return
        try:
            self._try(self._line_for(self._record))
        except ValueError as error:
            self._keep(candidate.failed(self._record, str(error)))

    def _line_for(self, record: Record) -> Transport:
        return self._transport_for(combined(self._base, record.wanted), self.protocol)

    def _transport_for(self, endpoint: Endpoint, protocol: ClientProtocol) -> Transport:
        limit = protocol.max_message_bytes
        return transport_for(endpoint, ping_s=self._ping_s, max_message_bytes=limit)


def _impossible(record: Record, error: Exception) -> Record:
    """A candidate that cannot be kept, or that makes no connection, is none."""
    text = "it cannot be stored" if isinstance(error, OSError) else str(error)
    return candidate.failed(record, text)
