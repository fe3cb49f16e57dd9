"""The settings of all agents or of one service: forms and text, checked, confirmed, then sent.

Nothing is stored by a GET. A change that records more than now is shown first, with the agents
it reaches, and is made only when that page is confirmed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from llm_observe.control.access.door import ACTOR
from llm_observe.control.rules.model import AgentSummary, Edit, SettingsView, Skipped
from llm_observe.control.ui import forms, keyforms
from llm_observe.control.ui.history import FINAL, followed
from llm_observe.control.ui.site import Site
from llm_observe.errors import Conflict, NotFound, Problem, SettingsError
from llm_observe.settings.documents import join_path

EDITS: Mapping[str, Callable[[FormData, SettingsView], Edit]] = {
    "sampling": forms.sampling,
    "capture": forms.capture,
    "conventions": forms.conventions,
    "part": forms.part,
    "entry": forms.entry,
    "drop": forms.without_entry,
    "destination": forms.destination,
    "remove": forms.without_destination,
    "text": forms.whole,
}
"""What each form of the page does; the field ``form`` names it."""

PARTS = ("sampling", "capture", "redaction", "instrumentation")
"""Parts of the settings whose keys have fields made from the schema."""

LOOKED_AT = 5
"""Agents whose destinations are looked up, to offer them by name."""


@dataclass(frozen=True, slots=True)
class InForce:
    """What the matched, connected agents say is in force."""

    ratios: Sequence[tuple[float, int]] = ()
    levels: Sequence[tuple[str, int]] = ()
    destinations: Sequence[tuple[str, str]] = ()
    """Name and endpoint of destinations that the apps bring along themselves."""


class SettingsPages:
    """Handlers of the settings page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """The page and its forms."""
        return [
            self._site.route("/settings", self.show),
            self._site.route("/settings", self.save, "POST"),
        ]

    async def show(self, request: Request) -> Response:
        """The settings of one scope; with ``version``, how far that change has come."""
        return await self._page(request, await self._view(request))

    async def save(self, request: Request) -> Response:
        """Check a form; then store and offer it, or show what is wrong, or ask first."""
        base, form = await self._view(request), await request.form()
        try:
            edit = signed(request, self._edit(form, base))
            preview = await self._site.service.preview(edit)
        except SettingsError as error:
            return await self._page(request, base, 422, wrong=_wrong(form, error))
        if not preview.changes:
            return await self._page(request, base, notice="Nothing differs from what is set.")
        asked = preview.loosens_capture or form.get("preview") == "yes"
        if asked and form.get("confirm") != "yes":
            return await self._site.page(
                request, "confirm.html", preview=preview, fields=list(_fields(form)), base=base
            )
        return await self._change(request, form, base, edit)

    async def _change(
        self, request: Request, form: FormData, base: SettingsView, edit: Edit
    ) -> Response:
        try:
            result = await self._site.service.change(edit)
        except SettingsError as error:
            return await self._page(request, base, 422, wrong=_wrong(form, error))
        query = urlencode({"service": base.service or "", "version": result.version})
        return RedirectResponse(f"/settings?{query}#progress", status_code=303)

    async def _view(self, request: Request) -> SettingsView:
        return await self._site.service.settings(request.query_params.get("service") or None)

    def _edit(self, form: FormData, base: SettingsView) -> Edit:
        kind = str(form.get("form") or "")
        if kind not in EDITS:
            raise NotFound("There is no such form.")
        if kind == "text" and str(form.get("base") or "") != str(base.version or ""):
            newer = f"version {base.version}" if base.version else "nothing"
            raise SettingsError(
                [Problem("", f"{newer} stored meanwhile", "the version that you started from")]
            )
        return EDITS[kind](form, base)

    async def _page(
        self,
        request: Request,
        view: SettingsView,
        status: int = 200,
        wrong: forms.Wrong | None = None,
        notice: str = "",
    ) -> Response:
        services = await self._site.service.services()
        return await self._site.page(
            request,
            "settings.html",
            status,
            view=view,
            services=sorted({*services, *([view.service] if view.service else [])}),
            levels=forms.LEVELS,
            generations=forms.GENERATIONS,
            destinations=_destinations(view, wrong),
            parts={name: _part(name, view, wrong) for name in PARTS},
            more_of=partial(_more_of, view, wrong),
            detectors=await self._site.service.detectors(view.service),
            text=_text(view, wrong),
            blank=forms.DestinationForm(),
            value_at=forms.value_at,
            path_of=_path,
            wrong=wrong,
            notice=notice,
            in_force=await self._in_force(view),
            progress=await followed(self._site.service, request),
            skipped=await self._skipped(view),
            final=FINAL,
        )

    async def _skipped(self, view: SettingsView) -> Sequence[Skipped]:
        """Agents that these settings do not reach, or not whole."""
        if view.version is None:
            return ()
        try:
            preview = await self._site.service.preview(Edit(view.service, document=view.document))
        except (SettingsError, Conflict):
            return ()
        return preview.skipped

    async def _in_force(self, view: SettingsView) -> InForce:
        agents = await self._site.service.connected(view.service)
        ours = [agent for agent in agents if agent.capture_level is not None]
        return InForce(
            sorted(Counter(a.sampling_ratio for a in ours if a.sampling_ratio is not None).items()),
            sorted(Counter(a.capture_level for a in ours if a.capture_level).items()),
            await self._brought_along(ours, view),
        )

    async def _brought_along(
        self, agents: Sequence[AgentSummary], view: SettingsView
    ) -> list[tuple[str, str]]:
        found: dict[str, str] = {}
        for agent in agents[:LOOKED_AT]:
            try:
                effective = (await self._site.service.agent(agent.uid)).effective
            except NotFound:
                continue
            for name, value in (effective.document or {}).get("destinations", {}).items():
                found.setdefault(name, str(value.get("endpoint", "")))
        known = view.document.get("destinations", {})
        return sorted((name, end) for name, end in found.items() if name not in known)


def _part(name: str, view: SettingsView, wrong: forms.Wrong | None) -> keyforms.Part:
    form, typed = (wrong.form, wrong.typed.get("fields", {})) if wrong else ("", {})
    return keyforms.part(name, view.document, form, typed)


def _more_of(view: SettingsView, wrong: forms.Wrong | None, name: str) -> Sequence[keyforms.Field]:
    """What a destination has beside the fields of its own form."""
    mine = wrong is not None and wrong.form == "destination"
    typed = wrong.typed["fields"] if wrong is not None and mine else {}
    return keyforms.destination_fields(
        name, view.document, typed if typed.get("name") == name else {}
    )


def signed(request: Request, edit: Edit) -> Edit:
    """The edit under the name of who signed in; a typed name counts where nobody had to."""
    actor = request.scope.get(ACTOR)
    return replace(edit, author=actor) if actor else edit


def _wrong(form: FormData, error: SettingsError) -> forms.Wrong:
    kind = str(form.get("form") or "")
    typed: dict[str, Any] = {name: str(form.get(name) or "") for name in _KEPT}
    typed["fields"] = {name: str(value) for name, value in form.items()}
    if kind in ("part", "entry", "drop"):
        kind = keyforms.form_of(*(forms.text_of(form, name) for name in _TELLING[kind]))
    if kind in ("destination", "remove"):
        typed["destination"] = forms.typed_destination(form)
    return forms.Wrong(kind, error.problems, typed)


_TELLING = {"part": ("part",), "entry": ("list", "name"), "drop": ("list", "name")}
_KEPT = ("ratio", "level", "genai", "text", "comment", "author")


def _destinations(
    view: SettingsView, wrong: forms.Wrong | None
) -> list[tuple[forms.DestinationForm, bool]]:
    """Each destination's fields, and whether it is stored; a refused form with what was typed."""
    known = {item.name: (item, True) for item in forms.known_destinations(view.document)}
    if wrong is not None and wrong.form == "destination":
        typed: forms.DestinationForm = wrong.typed["destination"]
        known[typed.name] = (typed, typed.name in known)
    return list(known.values())


def _text(view: SettingsView, wrong: forms.Wrong | None) -> str:
    """What the editor shows: the document, or the refused text."""
    if wrong is not None and wrong.form == "text":
        return str(wrong.typed["text"])
    return forms.as_yaml(view.document)


def _path(*names: str) -> str:
    """The path of a key, with names that hold a dot escaped."""
    return join_path(names)


def _fields(form: FormData) -> Iterator[tuple[str, str]]:
    """The fields of a form, to be sent again when it is confirmed."""
    for name, value in form.multi_items():
        if name not in ("confirm", "preview"):
            yield name, str(value)
