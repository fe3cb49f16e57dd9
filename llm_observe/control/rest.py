"""One REST exchange with a control plane: address, limits, and what a refusal means.

The layer below `llm_observe.control.client`.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
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

OPAMP_PATH = "/v1/opamp"

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_ERRORS = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict}
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Wire:
    """Sends requests to one control plane and reads its answers.

    Every method raises `Unreachable`, `Forbidden`, `NotFound`, `Conflict`, `ControlError`, or
    `SettingsError` where the server names wrong keys.
    """

    def __init__(
        self,
        server: str | None,
        token: str | None,
        timeout_s: float,
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

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def pages(self, path: str, filters: Mapping[str, Any]) -> Iterator[Json]:
        """The items of all pages of a list, fetched as they are asked for."""
        for page in self.whole_pages(path, filters):
            yield from _checked(page.get("items"), list, self.server)

    def whole_pages(self, path: str, filters: Mapping[str, Any]) -> Iterator[Json]:
        """The pages of a list; a cursor that repeats ends it."""
        cursor: str | None = None
        while True:
            page = self.object("GET", path, params={**filters, "cursor": cursor})
            yield page
            before, cursor = cursor, page.get("next")
            if not cursor or cursor == before:
                return

    def object(self, method: str, path: str, **request: Any) -> Json:
        """The answer, which must be a JSON object."""
        return _checked(self.call(method, path, **request), dict, self.server)

    def list(self, method: str, path: str, **request: Any) -> list[Json]:
        """The answer, which must be a JSON list."""
        return _checked(self.call(method, path, **request), list, self.server)

    def call(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        """One exchange; ``params`` that are None are left out."""
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

    An app's address of the OpAMP endpoint (``ws://host:4320/v1/opamp``) is understood too, since
    both read the same variable.

    Raises:
        ControlError: It is no http or https URL, or holds credentials.
    """
    text = (server or os.environ.get("LLM_OBSERVE_SERVER") or DEFAULT_SERVER).strip()
    try:
        url = urlsplit(text)
        valid = url.scheme in _SCHEMES and bool(url.hostname) and url.port != 0
    except ValueError:
        raise ControlError(f"the server's address {text!r} is no URL") from None
    if url.username or url.password:
        raise ControlError("the server's address holds credentials; use LLM_OBSERVE_ADMIN_TOKEN")
    if not valid or url.query or url.fragment:
        raise ControlError(f"the server's address {text!r} is no http:// or https:// URL")
    scheme = _SCHEMES[url.scheme]
    return f"{scheme}://{url.netloc}{url.path.removesuffix(OPAMP_PATH).rstrip('/')}"


def _tls(server: str) -> ssl.SSLContext:
    if server.startswith("https:"):
        return ssl.create_default_context()
    return ssl.SSLContext(
        ssl.PROTOCOL_TLS_CLIENT
    )  # never used: spares 30 ms of reading certificates


def _headers(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token.strip()}"} if token and token.strip() else {}


def part(text: str) -> str:
    """Text as one part of a path."""
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
