"""Jinja2 with escaping always on, and the headers that every page is sent with.

The pages hold no inline script, no inline style and no inline handler, so the policy below
needs no exception: text that slips through as markup still could not run.
"""

from __future__ import annotations

import functools
import hashlib
import time
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from llm_observe.control.ui import human

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "static"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_ICON = Markup('<svg class="icon" {}><use href="{}#{}"></use></svg>')
_LABEL = Markup('role="img" aria-label="{}"')
_DECORATION = Markup('aria-hidden="true"')
_CODE = Markup("<code>{}</code>")
_AGE = Markup('<time datetime="{}" title="{}" data-relative>{}</time>')
_COUNTDOWN = Markup('<time datetime="{}" title="{}" data-countdown>{}</time>')
_EXACT = Markup('<time datetime="{}" title="{}" data-exact>{}</time>')


@functools.cache
def asset(path: str) -> str:
    """The address of a static file; its content's hash in it lets browsers keep it for good."""
    digest = hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]
    return f"/static/{path}?v={digest}"


def icon(name: str, label: str = "") -> Markup:
    """An icon of the sprite; without a label it is decoration that screen readers skip."""
    meaning = _LABEL.format(label) if label else _DECORATION
    return _ICON.format(meaning, asset("vendor/tabler-icons/icons.svg"), name)


def marked(text: str) -> Markup:
    """A sentence of the documentation: what stands in backticks is code."""
    pieces = text.split("`")
    return Markup("").join(
        _CODE.format(piece) if number % 2 else piece for number, piece in enumerate(pieces)
    )


def moment(at: float | None, *, exact: bool = False) -> Markup:
    """A ``<time>``: relative text that ages in the page, the exact moment as its title."""
    if not at:
        return Markup('<span class="text-secondary">never</span>')
    if exact:
        return _EXACT.format(human.iso(at), human.clock(at), human.clock(at))
    return _AGE.format(human.iso(at), human.clock(at), human.age(time.time() - at))


def countdown(at: float) -> Markup:
    """A ``<time>`` that counts down in the page to a moment to come."""
    left = human.left(at - time.time())
    return _COUNTDOWN.format(human.iso(at), human.clock(at), left)


def environment() -> jinja2.Environment:
    """The templates with the words that they use."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals |= {"asset": asset, "icon": icon, "moment": moment, "countdown": countdown}
    env.filters["marked"] = marked
    env.filters |= {
        name: getattr(human, name)
        for name in ("span", "number", "exact", "size", "percent", "plural", "listing", "sentence")
    }
    return env


class Templates:
    """Renders pages; ``shared`` is what every template may use."""

    def __init__(self, **shared: Any) -> None:
        self._env = environment()
        self._env.globals |= shared

    def page(
        self, request: Request, name: str, status: int = 200, /, **context: Any
    ) -> HTMLResponse:
        """A response from template ``name``."""
        text = self._env.get_template(name).render(request=request, **context)
        return HTMLResponse(text, status_code=status, headers=HEADERS)


class Assets(StaticFiles):
    """Static files; one that is asked for by its hash may be kept for a year."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with how long it may be kept."""
        response = await super().get_response(path, scope)
        known = b"v=" in scope.get("query_string", b"")
        response.headers["Cache-Control"] = (
            "public, max-age=31536000, immutable" if known else "no-cache"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
