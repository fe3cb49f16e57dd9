"""What all pages share: the service, the templates, the frame around each page, and errors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from llm_observe.control.access.door import ACTOR, BodyTooLarge
from llm_observe.control.rules.model import AgentSummary, StatusView
from llm_observe.control.service import Service
from llm_observe.control.ui.templating import Templates
from llm_observe.errors import Conflict, NotFound, SettingsError, StoreError

Handler = Callable[[Request], Awaitable[Response]]

_LOG = logging.getLogger(__name__)
_ERRORS: dict[type[Exception], tuple[int, str]] = {
    NotFound: (404, "This does not exist"),
    Conflict: (409, "This cannot be done now"),
    SettingsError: (422, "The request cannot be understood"),
    StoreError: (503, "The traces cannot be read"),
    BodyTooLarge: (413, "This is too large"),
}


@dataclass(frozen=True, slots=True)
class Shell:
    """The frame of a page: who records prompts as they are, and whether one can sign out."""

    status: StatusView
    recording: Sequence[AgentSummary]

    @property
    def recording_until(self) -> float | None:
        """When all of it ends by itself; None where some of it does not."""
        ends = [agent.full_capture_until for agent in self.recording]
        known = [end for end in ends if end is not None]
        return max(known) if known and len(known) == len(ends) else None

    @property
    def login(self) -> bool:
        """Whether a token was needed to see this."""
        return self.status.auth.pages == "token"


class Site:
    """Renders pages over one service; every handler is wrapped so that errors look alike."""

    def __init__(self, service: Service, templates: Templates | None = None) -> None:
        self.service = service
        self._templates = templates or Templates()

    def route(self, path: str, handler: Handler, *methods: str) -> Route:
        """A route whose errors become pages."""
        return Route(path, self._guarded(handler), methods=list(methods or ("GET",)))

    async def page(
        self, request: Request, name: str, status: int = 200, /, **context: Any
    ) -> HTMLResponse:
        """A whole page, with its frame."""
        shell = await self.shell()
        actor = request.scope.get(ACTOR, "")
        return self._templates.page(
            request, name, status, shell=shell, version=shell.status.version, actor=actor, **context
        )

    def bare(
        self, request: Request, name: str, status: int = 200, /, **context: Any
    ) -> HTMLResponse:
        """A page without frame, for those who are not let in."""
        return self._templates.page(request, name, status, shell=None, version="", **context)

    async def part(self, request: Request, name: str, /, **context: Any) -> HTMLResponse:
        """A part of a page, for a page that is open already."""
        return self._templates.page(request, name, 200, shell=await self.shell(), **context)

    async def shell(self) -> Shell:
        """The frame, as of now."""
        connected = await self.service.connected()
        return Shell(await self.service.status(), [row for row in connected if row.full_capture])

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except tuple(_ERRORS) as error:
                return await self.error(request, error)
            except HTTPException as error:  # a form that cannot be read
                heading = "The request cannot be understood"
                return await self.page(
                    request, "error.html", error.status_code, heading=heading, detail=error.detail
                )
            except Exception:  # noqa: BLE001  # the user gets a page, the log the trace
                _LOG.exception("page %s failed", request.url.path)
                return self.failure(request)

        return guarded

    async def error(self, request: Request, error: Exception) -> HTMLResponse:
        """The page that says what is wrong with a request."""
        kind = next(kind for kind in _ERRORS if isinstance(error, kind))
        status, title = _ERRORS[kind]
        return await self.page(request, "error.html", status, heading=title, detail=str(error))

    def failure(self, request: Request) -> HTMLResponse:
        """The page for a fault of ours; it asks nothing of the service."""
        detail = "The control plane ran into a fault of its own. Its log says more."
        return self.bare(request, "error.html", 500, heading="Something broke", detail=detail)

    async def missing(self, request: Request) -> Response:
        """The page for an address that leads nowhere."""
        raise NotFound(f"There is no page at {request.url.path}.")
