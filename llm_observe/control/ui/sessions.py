"""Conversations: the list, and each as the chat that it was."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from llm_observe.control.ui import calls
from llm_observe.control.ui.site import Site
from llm_observe.errors import NotFound
from llm_observe.spanstore.model import Page, SessionSummary, Span, TraceFilter, TraceSummary

PAGE = 50
TURNS = 25
"""Turns of a conversation on one page, each read with its content."""

_GONE = (
    '<div id="session" class="card"><div class="card-body">This session was deleted.</div></div>'
)
"""What an open page of a session shows once somebody deleted it."""


class SessionPages:
    """Handlers of the session pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """List, one conversation, and deleting it."""
        return [
            self._site.route("/sessions", self.index),
            self._site.route("/sessions/{session:path}/delete", self.delete, "POST"),
            self._site.route("/sessions/{session:path}", self.show),
        ]

    async def index(self, request: Request) -> Response:
        """All conversations, the last active first."""
        cursor = request.query_params.get("cursor") or None
        page: Page[SessionSummary] = await self._site.service.sessions(limit=PAGE, cursor=cursor)
        return await self._site.page(
            request, "sessions.html", page=page, paged=bool(cursor), deleted=_deleted(request)
        )

    async def show(self, request: Request) -> Response:
        """One conversation, oldest turn first; older turns on the next page."""
        session = request.path_params["session"]
        cursor = request.query_params.get("cursor") or None
        page: Page[TraceSummary] = await self._site.service.traces(
            TraceFilter(session=session), limit=TURNS, cursor=cursor
        )
        if not page.items and not cursor:
            if "hx-request" in request.headers:
                return HTMLResponse(_GONE)
            raise NotFound("There is no such session. It may have been deleted.")
        return await self._site.page(
            request,
            "session.html",
            session=session,
            page=page,
            turns=calls.conversation(
                [span for trace in reversed(page.items) for span in await self._calls(trace)]
            ),
            hidden=calls.hidden,
            scores={trace.trace_id: trace.scores for trace in page.items},
            paged=bool(cursor),
        )

    async def delete(self, request: Request) -> Response:
        """Delete everything of one conversation."""
        session = request.path_params["session"]
        deleted = await self._site.service.delete_session(session)
        return RedirectResponse(f"/sessions?deleted={quote(str(deleted))}", status_code=303)

    async def _calls(self, trace: TraceSummary) -> list[Span]:
        try:
            spans: list[Span] = await self._site.service.trace(trace.trace_id)
        except NotFound:  # deleted between the two questions
            return []
        return [span for span in spans if calls.is_call(span)]


def _deleted(request: Request) -> int | None:
    text = request.query_params.get("deleted", "")
    return int(text) if text.isdecimal() and len(text) < 10 else None
