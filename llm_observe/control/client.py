"""The control plane's REST API from Python: what the command line and notebooks use.

Answers are the JSON that the API documents, as plain dicts. Nothing of the server is loaded
here, so a machine without the ``[server]`` extra can steer one that has it.

Order of calls: make one `ControlClient`, call what is needed, `close` it (or use ``with``).
One client may be used by one thread at a time.
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from llm_observe.errors import (
    Conflict,
    ControlError,
    Forbidden,
    NotFound,
    Problem,
    SettingsError,
    Unreachable,
)

Json = dict[str, Any]
T = TypeVar("T")

DEFAULT_SERVER = "http://127.0.0.1:4320"
"""Where a control plane is looked for when nobody says otherwise."""

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Largest answer that is read into memory."""

FINAL_STATES = frozenset({"acknowledged", "refused", "superseded", "no agents"})
"""States of a version's progress after which nothing more happens."""

_ERRORS = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict}
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


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
        self.server = server_address(server)
        host = urlsplit(self.server).hostname or ""
        self._http = httpx.Client(
            base_url=f"{self.server}/api/v1",
            headers=_headers(token or os.environ.get("LLM_OBSERVE_ADMIN_TOKEN")),
            timeout=timeout_s,
            transport=transport,
            verify=_tls(self.server),
            trust_env=host not in _LOOPBACK,  # a proxy is never asked for this machine itself
        )

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
        self._http.close()

    # What is there

    def status(self) -> Json:
        """Version, age, counts and the kind of authentication."""
        return self._object("GET", "/status")

    def agents(self, **filters: Any) -> Iterator[Json]:
        """Every agent, page by page; ``service=`` and ``state=`` narrow."""
        return self._pages("/agents", filters)

    def agent(self, uid: str) -> Json:
        """All that is known of one agent."""
        return self._object("GET", f"/agents/{_part(uid)}")

    def schema(self) -> Json:
        """The JSON Schema of the settings document."""
        return self._object("GET", "/schema")

    # Settings

    def settings(self, service: str | None = None) -> Json:
        """The desired fragment of one service, or of all without a service."""
        return self._object("GET", "/settings", params={"service": service})

    def change(
        self,
        values: Mapping[str, Any],
        unset: tuple[str, ...] = (),
        *,
        service: str | None = None,
        comment: str = "",
        author: str = "",
    ) -> Json:
        """Merge values by path into the desired settings: a new version."""
        body = {
            "service": service, "set": dict(values), "unset": list(unset),
            "comment": comment, "author": author,
        }  # fmt: skip
        return self._object("PATCH", "/settings", body=body)

    def replace(
        self, document: Mapping[str, Any], *, service: str | None = None, comment: str = "", author: str = ""
    ) -> Json:  # fmt: skip
        """Replace the desired settings by a document: a new version."""
        body = {
            "service": service, "document": dict(document), "comment": comment, "author": author,
        }  # fmt: skip
        return self._object("PUT", "/settings", body=body)

    def versions(self, **filters: Any) -> Iterator[Json]:
        """The history, newest first; ``service=`` narrows."""
        return self._pages("/versions", filters)

    def version(self, number: int) -> Json:
        """One version with its document and its difference to the one before."""
        return self._object("GET", f"/versions/{number}")

    def undo(
        self, number: int | None = None, *, service: str | None = None, author: str = ""
    ) -> Json:
        """Restore what held before a version (the newest without a number): a new version."""
        path = "/undo" if number is None else f"/versions/{number}/undo"
        return self._object("POST", path, body={"service": service, "author": author})

    def progress(self, number: int) -> Json:
        """Who has acknowledged a version, who refused it, who is silent."""
        return self._object("GET", f"/versions/{number}/progress")

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

    # Traces

    def traces(self, **filters: Any) -> Iterator[Json]:
        """Trace summaries, newest first, page by page."""
        return self._pages("/traces", filters)

    def trace(self, trace_id: str) -> list[Json]:
        """The spans of one trace, with their payload."""
        answer = self._call("GET", f"/traces/{_part(trace_id)}")
        found = answer if isinstance(answer, list) else answer.get("spans", answer.get("items"))
        return _checked(found, list, self.server)

    def span_pages(self, **filters: Any) -> Iterator[Json]:
        """Pages of span rows as they arrive: ``items``, ``next``, and ``total`` where known."""
        cursor: str | None = None
        while True:
            page = self._object("GET", "/spans", params={**filters, "cursor": cursor})
            yield page
            cursor = page.get("next")
            if not cursor:
                return

    def series(self, metric: str, **filters: Any) -> Any:
        """One metric over time; from metrics, so sampling does not bend it."""
        return self._call("GET", "/series", params={"metric": metric, **filters})

    def facets(self) -> Json:
        """The services, models and sessions that spans are from."""
        return self._object("GET", "/facets")

    def sessions(self, **filters: Any) -> Iterator[Json]:
        """Every session, newest first."""
        return self._pages("/sessions", filters)

    def delete_session(self, session: str) -> None:
        """Delete the spans of one session, content and all."""
        self._call("DELETE", f"/sessions/{_part(session)}")

    # Tokens

    def tokens(self) -> list[Json]:
        """The tokens that exist, without their values."""
        return list(self._pages("/tokens", {}))

    def create_token(self, kind: str, name: str = "") -> Json:
        """A new token of kind ``ingest`` or ``admin``; its value is shown this once."""
        return self._object("POST", "/tokens", body={"kind": kind, "name": name})

    def delete_token(self, token_id: str) -> None:
        """Withdraw a token."""
        self._call("DELETE", f"/tokens/{_part(token_id)}")

    # The wire

    def _pages(self, path: str, filters: Mapping[str, Any]) -> Iterator[Json]:
        cursor: str | None = None
        while True:
            page = self._call("GET", path, params={**filters, "cursor": cursor})
            if isinstance(page, list):
                yield from page
                return
            yield from _checked(page.get("items"), list, self.server)
            cursor = page.get("next")
            if not cursor:
                return

    def _object(self, method: str, path: str, **request: Any) -> Json:
        return _checked(self._call(method, path, **request), dict, self.server)

    def _call(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        query = {name: _text(value) for name, value in (params or {}).items() if value is not None}
        try:
            with self._http.stream(method, path, params=query, json=body) as response:
                data = _limited(response)
        except httpx.TimeoutException as error:
            raise Unreachable(f"{self.server} did not answer in time") from error
        except httpx.TransportError as error:
            raise Unreachable(f"no control plane answers at {self.server}: {error}") from error
        return _decoded(response, data, self.server)


def server_address(server: str | None) -> str:
    """The address to use, without a trailing slash.

    Raises:
        ControlError: It is no http or https URL, or holds credentials.
    """
    text = (server or os.environ.get("LLM_OBSERVE_SERVER") or DEFAULT_SERVER).strip()
    try:
        url = urlsplit(text)
        valid = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        raise ControlError(f"the server's address {text!r} is no URL") from None
    if url.username or url.password:
        raise ControlError("the server's address holds credentials; use LLM_OBSERVE_ADMIN_TOKEN")
    if not valid or url.query or url.fragment:
        raise ControlError(f"the server's address {text!r} is no http:// or https:// URL")
    return text.rstrip("/")


def _tls(server: str) -> ssl.SSLContext:
    if server.startswith("https:"):
        return ssl.create_default_context()
    return ssl.SSLContext(
        ssl.PROTOCOL_TLS_CLIENT
    )  # never used: spares 30 ms of reading certificates


def _headers(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token.strip()}"} if token and token.strip() else {}


def _part(text: str) -> str:
    return quote(text, safe="")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)


def _limited(response: httpx.Response) -> bytes:
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            raise ControlError(f"an answer of more than {MAX_ANSWER_BYTES} bytes; ask for less")
    return bytes(data)


def _decoded(response: httpx.Response, data: bytes, server: str) -> Any:
    if response.is_redirect:
        raise ControlError(f"{server} sends us elsewhere; give the address it points to")
    try:
        answer = json.loads(data) if data else {}
    except ValueError:
        answer = None
    if response.is_error:
        raise _refusal(response.status_code, answer if isinstance(answer, dict) else {}, server)
    if answer is None:
        raise ControlError(f"what answers at {server} is no llm-observe control plane")
    return answer


def _refusal(status: int, answer: Json, server: str) -> Exception:
    problems = answer.get("problems") or []
    if problems:
        return SettingsError(
            Problem(str(p.get("path", "")), str(p.get("found", "")), str(p.get("expected", "")))
            for p in problems
        )
    said = answer.get("detail") or answer.get("title") or f"status {status}"
    return _ERRORS.get(status, ControlError)(f"{server} refused: {said}")


def _checked(value: Any, kind: type[T], server: str) -> T:
    if not isinstance(value, kind):
        raise ControlError(f"what answers at {server} is no llm-observe control plane")
    return value
