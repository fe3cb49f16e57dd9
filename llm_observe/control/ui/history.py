"""Who changed what and when, how far each version came, and taking it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from llm_observe.control.access.door import ACTOR
from llm_observe.control.rules.grants import not_revived
from llm_observe.control.rules.model import Edit, Progress, ProgressState, VersionDetail
from llm_observe.control.service import Service
from llm_observe.control.ui.forms import MAX_COMMENT, as_yaml, text_of
from llm_observe.control.ui.site import Site
from llm_observe.errors import NotFound
from llm_observe.settings.documents import with_value, without

PAGE = 30
FINAL = frozenset(ProgressState) - {ProgressState.PENDING}
"""States after which a version's progress is not asked for again and again."""


class History:
    """Handlers of the history."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """List, one version, its live progress, and undo with the question before it."""
        return [
            self._site.route("/history", self.index),
            self._site.route("/history/{number:int}", self.show),
            self._site.route("/history/{number:int}/progress", self.progress),
            self._site.route("/history/{number:int}/undo", self.ask),
            self._site.route("/history/{number:int}/undo", self.undo, "POST"),
        ]

    async def index(self, request: Request) -> Response:
        """All versions, newest first."""
        query = request.query_params
        service = query.get("service") or None
        page = await self._site.service.versions(
            service=service, limit=PAGE, cursor=query.get("cursor") or None
        )
        return await self._site.page(
            request,
            "history.html",
            versions=page,
            services=await self._site.service.services(),
            service=service or "",
            paged=bool(query.get("cursor")),
        )

    async def show(self, request: Request) -> Response:
        """One version: what it changed, the whole document, who took it."""
        number = _number(request)
        detail = await self._site.service.version(number)
        return await self._site.page(
            request,
            "version.html",
            detail=detail,
            version_summary=detail,
            document=as_yaml(detail.document),
            progress=await self._site.service.progress(number),
            final=FINAL,
        )

    async def progress(self, request: Request) -> Response:
        """The progress alone, asked for again while it is not final."""
        progress = await self._site.service.progress(_number(request))
        return await self._site.part(request, "_progress.html", progress=progress, final=FINAL)

    async def ask(self, request: Request) -> Response:
        """What taking a version back would do; nothing is changed."""
        detail = await self._site.service.version(_number(request))
        now = await self._site.service.settings(detail.service)
        document = not_revived(document_before(detail), now.document)
        preview = await self._site.service.preview(Edit(detail.service, document=document))
        return await self._site.page(request, "undo.html", version_summary=detail, preview=preview)

    async def undo(self, request: Request) -> Response:
        """Take a version back by a new one."""
        form = await request.form()
        result = await self._site.service.undo(
            _number(request),
            author=request.scope.get(ACTOR) or text_of(form, "author")[:100],
            comment=text_of(form, "comment")[:MAX_COMMENT],
        )
        return RedirectResponse(f"/history/{result.version}", status_code=303)


async def followed(service: Service, request: Request) -> Progress | None:
    """How far the change has come that ``version`` of a page's address names, if it names one."""
    number = request.query_params.get("version", "")
    if not number.isdecimal() or len(number) > 15:
        return None
    try:
        return await service.progress(int(number))
    except NotFound:
        return None


def document_before(detail: VersionDetail) -> Mapping[str, Any]:
    """What the version's scope wanted before it."""
    document = dict(detail.document)
    for change in detail.changes:
        if change.before is None:
            document = without(document, change.path)
        else:
            document = with_value(document, change.path, change.before)
    return document


def _number(request: Request) -> int:
    number: int = request.path_params["number"]
    if number > 2**53:
        raise NotFound(f"There is no version {number}.")
    return number
