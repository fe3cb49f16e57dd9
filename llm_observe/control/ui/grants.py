"""Timed capture grants: who records more until when, beginning one, ending one."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from llm_observe.control.access.door import ACTOR
from llm_observe.control.rules.grants import GrantWish
from llm_observe.control.ui.forms import LEVELS, MAX_COMMENT, text_of
from llm_observe.control.ui.history import FINAL, followed
from llm_observe.control.ui.site import Site
from llm_observe.errors import Problem, SettingsError

TIMES: Mapping[str, str] = {
    "300": "5 minutes", "900": "15 minutes", "3600": "1 hour", "14400": "4 hours",
    "86400": "1 day", "604800": "1 week",
}  # fmt: skip
"""How long a grant may run, in seconds, as the form offers it. Others are taken too."""

MATCHED = ("user", "session", "model", "provider", "route")
"""What the form can narrow a grant to."""

_FIELDS = ("service", "level", "for_s", "comment", "author", *MATCHED)


class GrantPages:
    """Handlers of the page of grants."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """The page, its form, and the button that ends a grant."""
        return [
            self._site.route("/grants", self.show),
            self._site.route("/grants", self.begin, "POST"),
            self._site.route("/grants/{name}/end", self.end, "POST"),
        ]

    async def show(self, request: Request) -> Response:
        """Every grant that is wanted; with ``version``, how far that change has come."""
        return await self._page(request)

    async def begin(self, request: Request) -> Response:
        """Show first whom a grant reaches; begin it when that is confirmed."""
        form = await request.form()
        try:
            wish = _wish(form, str(request.scope.get(ACTOR) or ""))
            if form.get("confirm") != "yes":
                preview = await self._site.service.preview_grant(wish)
                fields = [(name, text_of(form, name)) for name in _FIELDS if text_of(form, name)]
                return await self._site.page(
                    request, "grant_confirm.html", wish=wish, preview=preview, fields=fields
                )
            begun = await self._site.service.grant(wish)
        except SettingsError as error:
            typed = {name: text_of(form, name) for name in _FIELDS}
            return await self._page(request, 422, problems=error.problems, typed=typed)
        return _followed(begun.change.version)

    async def end(self, request: Request) -> Response:
        """End a grant now."""
        form = await request.form()
        author = str(request.scope.get(ACTOR) or text_of(form, "author")[:100])
        ended = await self._site.service.revoke(str(request.path_params["name"]), author=author)
        return _followed(ended.version)

    async def _page(
        self,
        request: Request,
        status: int = 200,
        problems: tuple[Problem, ...] = (),
        typed: Mapping[str, str] = {},
    ) -> Response:
        service = self._site.service
        return await self._site.page(
            request, "grants.html", status, grants=await service.grants(),
            services=await service.services(), levels=LEVELS, times=TIMES, matched=MATCHED,
            typed={**dict.fromkeys(_FIELDS, ""), "level": "full", "for_s": "900", **typed},
            problems=problems, progress=await followed(service, request), final=FINAL,
        )  # fmt: skip


def _wish(form: FormData, actor: str) -> GrantWish:
    return GrantWish(
        service=text_of(form, "service") or None,
        match={name: text_of(form, name) for name in MATCHED if text_of(form, name)},
        level=text_of(form, "level"),
        for_s=_seconds(text_of(form, "for_s")),
        comment=text_of(form, "comment")[:MAX_COMMENT],
        author=actor or text_of(form, "author")[:100],
    )


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError([Problem("for_s", repr(text[:40]), "a number of seconds")]) from None


def _followed(version: int | None) -> Response:
    query = urlencode({"version": version}) if version else ""
    return RedirectResponse(f"/grants?{query}#progress", status_code=303)
