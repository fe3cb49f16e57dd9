"""Signing in to the pages with an admin token, for use beyond this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from llm_observe.control.access.sessions import COOKIE, LIFETIME_S, Sessions
from llm_observe.control.ui.site import Site


class Login:
    """Handlers of signing in and out."""

    def __init__(self, site: Site, sessions: Sessions) -> None:
        self._site, self._sessions = site, sessions

    def routes(self) -> list[Route]:
        """The form, its answer, and signing out."""
        return [
            self._site.route("/login", self.show),
            self._site.route("/login", self.begin, "POST"),
            self._site.route("/logout", self.end, "POST"),
        ]

    async def show(self, request: Request) -> Response:
        """The form."""
        target = local_target(request.query_params.get("next", ""))
        return self._site.bare(request, "login.html", next=target, wrong="")

    async def begin(self, request: Request) -> Response:
        """Sign in; a wrong token says no more than that."""
        form = await request.form()
        target = local_target(str(form.get("next") or ""))
        value = self._sessions.begin(str(form.get("token") or ""))
        if value is None:
            return self._site.bare(
                request, "login.html", 401, next=target, wrong="This is not a valid admin token."
            )
        response = RedirectResponse(target, status_code=303)
        sign_in(request, response, value)
        return response

    async def end(self, request: Request) -> Response:
        """Sign out."""
        self._sessions.end(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response


def sign_in(request: Request, response: Response, value: str) -> None:
    """Let the browser keep a session; scripts cannot read it, other sites cannot send it."""
    response.set_cookie(
        COOKIE,
        value,
        max_age=LIFETIME_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def local_target(target: str) -> str:
    """Where to go after signing in: a path of ours, never another host."""
    parts = urlsplit(target.replace("\\", "/"))
    elsewhere = parts.scheme or parts.netloc or not parts.path.startswith("/")
    return "/" if elsewhere or target.startswith("//") else target
