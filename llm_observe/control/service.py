"""Every use case of the control plane: the one door for REST, pages and the OpAMP endpoint.

Rules are in `desired`, `fleet`, `plan`, `progress` and `views`; SQL is in `storage`; spans are in
`llm_observe.spanstore`. Here and in the ``*_cases`` modules they meet, always in the same order:
check, commit, then tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llm_observe.control.bus import Bus, Watcher
from llm_observe.control.cases.fleet import FleetCases
from llm_observe.control.cases.grants import GrantCases
from llm_observe.control.cases.tokens import TokenCases
from llm_observe.control.cases.traces import TraceCases
from llm_observe.control.roster import Roster
from llm_observe.control.rules import model
from llm_observe.control.rules.views import counts
from llm_observe.control.store.storage import Storage
from llm_observe.control.tokens import Keyring
from llm_observe.settings.schema import schema_hash
from llm_observe.spanstore.model import Writing


def release() -> str:
    """The release of this package, or ``0`` where it runs from a folder without being installed."""
    try:
        return version("llm-observe")
    except PackageNotFoundError:
        return "0"


class Service(GrantCases, FleetCases, TraceCases, TokenCases):
    """Use cases as async methods; records of `llm_observe.control.rules.model` in and out.

    Order of calls: `Service.open`, any method from any task of that event loop, `stopping`
    (watchers end), `close`. Errors of all methods: `SettingsError` (one problem per key; nothing
    was stored), `NotFound`, `Conflict`, `StoreError`.
    """

    def __init__(
        self,
        storage: Storage,
        store: Writing,
        data_dir: Path,
        *,
        loopback: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage, self._store, self._reader = storage, store, store.reader()
        self._roster, self._bus = Roster(schema_hash()), Bus()
        self.keyring = Keyring(clock)
        self.loopback = loopback
        self._clock = clock
        self._data_dir = data_dir
        self._started = clock()
        self._init_settings()
        self._init_fleet()

    @classmethod
    async def open(
        cls,
        data_dir: Path,
        store: Writing,
        *,
        loopback: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> Service:
        """Open ``control.db`` below the folder, and remember what was known.

        Raises:
            StoreError: The file cannot be used.
        """
        storage = await Storage.open(data_dir / "control.db")
        service = cls(storage, store, data_dir, loopback=loopback, clock=clock)
        await service._load_settings()
        await service._load_fleet()
        service.keyring.load(await storage.tokens())
        return service

    def stopping(self) -> None:
        """The server is about to stop: every watcher ends."""
        self._bus.close()

    async def close(self) -> None:
        """Write what is in memory only, then close the files that were opened here."""
        await self.tidy()
        await self._storage.close()
        self._reader.close()

    @property
    def clock(self) -> Callable[[], float]:
        """The clock of this server, in Unix seconds."""
        return self._clock

    def load(self) -> model.Load:
        """How busy the server is."""
        writer = self._storage.writer
        return model.Load(writer.jobs, writer.commits, writer.waiting, self.intakes, len(self._bus))

    def changes(self) -> Watcher:
        """Notices from now on, until the server stops. Coalesced: none is lost in meaning."""
        return self._bus.watch()

    async def status(self) -> model.StatusView:
        """The control plane's own state: counts, sizes, who is let in."""
        stats = await self.span_stats()
        return model.StatusView(
            version=release(),
            started=self._started,
            now=self._clock(),
            agents=counts(self._roster.summaries()),
            spans=stats.spans,
            storage=model.StorageView(
                str(self._data_dir), await self._storage.size(), stats.bytes, stats.spans
            ),
            auth=self.auth(),
            schema_hash=self._roster.schema_hash,
        )

    async def check(self) -> None:
        """Ask both databases for something small.

        Raises:
            StoreError: One of them does not answer.
        """
        await self._storage.ping()
        await self.span_stats()

    async def tidy(self) -> None:
        """Write ages down and forget what is too old; call it now and then."""
        await self._tidy_fleet()
        await self._tidy_tokens()
