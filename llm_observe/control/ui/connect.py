"""How an app or a Collector is connected, and the tokens that let it in."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from llm_observe.control.access.door import ACTOR
from llm_observe.control.access.sessions import Sessions
from llm_observe.control.rules.model import NewToken, TokenKind
from llm_observe.control.ui.login import sign_in
from llm_observe.control.ui.site import Site
from llm_observe.errors import Conflict


class Connect:
    """Handlers of the connect page."""

    def __init__(self, site: Site, sessions: Sessions | None = None) -> None:
        self._site, self._sessions = site, sessions

    def routes(self) -> list[Route]:
        """The page, making a token, deleting one."""
        return [
            self._site.route("/connect", self.show),
            self._site.route("/connect/tokens", self.create, "POST"),
            self._site.route("/connect/tokens/{token_id:int}/delete", self.delete, "POST"),
        ]

    async def show(self, request: Request) -> Response:
        """What to type, and who is let in."""
        return await self._page(request)

    async def create(self, request: Request) -> Response:
        """Make a token; its value is on this one page and nowhere else."""
        form = await request.form()
        name, kind = str(form.get("name") or "").strip(), str(form.get("kind") or "")
        if not name or len(name) > 100 or kind not in set(TokenKind):
            return await self._page(
                request, 422, wrong="A token needs a name of at most 100 characters.", name=name
            )
        actor = str(request.scope.get(ACTOR, ""))
        made = await self._site.service.create_token(TokenKind(kind), name, actor)
        response = await self._page(request, 201, made=made)
        if made.kind is TokenKind.ADMIN and self._sessions is not None and not actor:
            # From the first admin token on the pages are closed; who made it stays inside.
            sign_in(request, response, self._sessions.begin(made.value) or "")
        return response

    async def delete(self, request: Request) -> Response:
        """Delete a token; it opens nothing from now on."""
        try:
            actor = str(request.scope.get(ACTOR, ""))
            await self._site.service.delete_token(request.path_params["token_id"], actor)
        except Conflict as error:
            return await self._page(request, 409, wrong=str(error))
        return RedirectResponse("/connect#tokens", status_code=303)

    async def _page(
        self,
        request: Request,
        status: int = 200,
        made: NewToken | None = None,
        wrong: str = "",
        name: str = "",
    ) -> Response:
        server = str(request.base_url).rstrip("/")
        return await self._site.page(
            request,
            "connect.html",
            status,
            tokens=await self._site.service.tokens(),
            made=made,
            wrong=wrong,
            name=name,
            server=server,
            socket=server.replace("http", "ws", 1),
        )
