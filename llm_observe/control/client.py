"""The control plane's REST API from Python: what the command line and notebooks use.

Answers are the JSON that the API documents, as plain dicts. Nothing of the server is loaded
here, so a machine without the ``[server]`` extra can steer one that has it.

Order of calls: make one `ControlClient`, call what is needed, `close` it (or use ``with``).
One client may be used by one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from llm_observe.control.rest import DEFAULT_SERVER, Json, Wire, part, server_address

__all__ = [
    "DEFAULT_SERVER",
    "FINAL_STATES",
    "LONGEST_TRACE",
    "ControlClient",
    "Json",
    "server_address",
]

FINAL_STATES = frozenset({"acknowledged", "refused", "superseded", "no agents"})
"""States of a version's progress after which nothing more happens."""

LONGEST_TRACE = 10_000
"""How many spans of one trace are asked for."""


class ControlClient:
    """Speaks to one control plane.

    Args:
        server: Its address; without one ``LLM_OBSERVE_SERVER``, else `DEFAULT_SERVER`.
        token: An admin token; without one ``LLM_OBSERVE_ADMIN_TOKEN``. On loopback a control
            plane without tokens needs none.
        timeout_s: Seconds that one request may take.
        transport: Another way to carry requests, for tests.

    Every method raises `Unreachable`, `Forbidden`, `NotFound`, `Conflict`, `ControlError`, or
    `SettingsError` where the server names wrong keys; each says a whole sentence.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        *,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._wire = Wire(server, token, timeout_s, transport)
        self.server = self._wire.server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    # What is there

    def status(self) -> Json:
        """Version, age, counts and the kind of authentication."""
        return self._wire.object("GET", "/status")

    def agents(self, **filters: Any) -> Iterator[Json]:
        """Every agent, page by page; ``service=`` and ``state=`` narrow."""
        return self._wire.pages("/agents", filters)

    def agent(self, uid: str) -> Json:
        """All that is known of one agent."""
        return self._wire.object("GET", f"/agents/{part(uid)}")

    def schema(self) -> Json:
        """The JSON Schema of the settings document."""
        return self._wire.object("GET", "/schema")

    # Settings

    def settings(self, service: str | None = None) -> Json:
        """The desired fragment of one service, or of all without a service."""
        return self._wire.object("GET", "/settings", params={"service": service})

    def change(
        self,
        values: Mapping[str, Any],
        unset: tuple[str, ...] = (),
        *,
        service: str | None = None,
        comment: str = "",
        author: str = "",
        dry_run: bool = False,
    ) -> Json:
        """Merge values by path into the desired settings: a new version.

        With ``dry_run`` nothing is stored or sent: the answer says what would happen.
        """
        body = {
            "service": service, "set": dict(values), "unset": list(unset),
            "comment": comment, "author": author, "dry_run": dry_run,
        }  # fmt: skip
        return self._wire.object("PATCH", "/settings", body=body)

    def replace(
        self,
        document: Mapping[str, Any],
        *,
        service: str | None = None,
        comment: str = "",
        author: str = "",
        dry_run: bool = False,
    ) -> Json:
        """Replace the desired settings by a document: a new version, or as `change` a preview."""
        body = {
            "service": service, "document": dict(document),
            "comment": comment, "author": author, "dry_run": dry_run,
        }  # fmt: skip
        return self._wire.object("PUT", "/settings", body=body)

    def versions(self, **filters: Any) -> Iterator[Json]:
        """The history, newest first; ``service=`` narrows."""
        return self._wire.pages("/versions", filters)

    def version(self, number: int) -> Json:
        """One version with its document and its difference to the one before."""
        return self._wire.object("GET", f"/versions/{number}")

    def undo(
        self, number: int | None = None, *, service: str | None = None, author: str = ""
    ) -> Json:
        """Restore what held before a version (the newest without a number): a new version."""
        path = "/undo" if number is None else f"/versions/{number}/undo"
        return self._wire.object("POST", path, body={"service": service, "author": author})

    def progress(self, number: int) -> Json:
        """Who has acknowledged a version, who refused it, who is silent."""
        return self._wire.object("GET", f"/versions/{number}/progress")

    def wait(self, number: int, timeout_s: float, *, every_s: float = 0.2) -> Iterator[Json]:
        """The progress of a version, again and again, until it is final or the time is over.

        The last one yielded says how it ended: a state outside `FINAL_STATES` is a time-out.
        """
        end = time.monotonic() + timeout_s
        while True:
            progress = self.progress(number)
            yield progress
            left = end - time.monotonic()
            if progress["state"] in FINAL_STATES or left <= 0:
                return
            time.sleep(min(every_s, left))

    # Grants

    def grants(self) -> Iterator[Json]:
        """Every grant that is wanted, and the agents in which it is in force."""
        return self._wire.pages("/grants", {})

    def begin_grant(self, wish: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        """Record more for some time; `llm_observe.control.rules.grants.GrantWish` names the keys.

        With ``dry_run`` nothing is stored or sent: the answer says whom it would reach.
        """
        return self._wire.object("POST", "/grants", body={**wish, "dry_run": dry_run})

    def end_grant(self, grant_id: str) -> Json:
        """End a grant now; it never begins again."""
        return self._wire.object("DELETE", f"/grants/{part(grant_id)}")

    # Traces

    def traces(self, **filters: Any) -> Iterator[Json]:
        """Trace summaries, newest first, page by page."""
        return self._wire.pages("/traces", filters)

    def trace(self, trace_id: str) -> list[Json]:
        """The spans of one trace, with their payload: the first `LONGEST_TRACE`."""
        path = f"/traces/{part(trace_id)}"
        return list(self._wire.object("GET", path, params={"limit": LONGEST_TRACE})["spans"])

    def span_pages(self, **filters: Any) -> Iterator[Json]:
        """Pages of span rows as they arrive: ``items``, ``next``, and ``total`` where known."""
        return self._wire.whole_pages("/spans", filters)

    def scores(self, **filters: Any) -> Iterator[Json]:
        """What was judged, newest first, page by page."""
        return self._wire.pages("/scores", filters)

    def series(self, metric: str, **filters: Any) -> list[Json]:
        """One metric over time, a line per label; from metrics, so sampling does not bend it."""
        return self._wire.list("GET", "/series", params={"metric": metric, **filters})

    def facets(self) -> Json:
        """The services, models and sessions that spans are from, and the names of scores."""
        return self._wire.object("GET", "/facets")

    def sessions(self, **filters: Any) -> Iterator[Json]:
        """Every session, newest first."""
        return self._wire.pages("/sessions", filters)

    def delete_session(self, session: str) -> None:
        """Delete the spans of one session, content and all."""
        self._wire.call("DELETE", f"/sessions/{part(session)}")

    # Tokens

    def tokens(self) -> list[Json]:
        """The tokens that exist, without their values."""
        return list(self._wire.pages("/tokens", {}))

    def create_token(self, kind: str, name: str = "") -> Json:
        """A new token of kind ``ingest`` or ``admin``; its value is shown this once."""
        return self._wire.object("POST", "/tokens", body={"kind": kind, "name": name})

    def delete_token(self, token_id: str) -> None:
        """Withdraw a token."""
        self._wire.call("DELETE", f"/tokens/{part(token_id)}")
