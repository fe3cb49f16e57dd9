"""All pages as routes. The last one catches what leads nowhere, so these routes go last."""

from __future__ import annotations

from starlette.routing import BaseRoute, Mount

from llm_observe.control.access.sessions import Sessions
from llm_observe.control.service import Service
from llm_observe.control.ui.agents import Agents
from llm_observe.control.ui.connect import Connect
from llm_observe.control.ui.grants import GrantPages
from llm_observe.control.ui.history import History
from llm_observe.control.ui.login import Login
from llm_observe.control.ui.overview import Overview
from llm_observe.control.ui.sessions import SessionPages
from llm_observe.control.ui.settings import SettingsPages
from llm_observe.control.ui.site import Site
from llm_observe.control.ui.templating import Assets, Templates
from llm_observe.control.ui.traces import Traces

PAGES = (Overview, Agents, Traces, SessionPages, SettingsPages, GrantPages, History)


def routes(
    service: Service, templates: Templates | None = None, sessions: Sessions | None = None
) -> list[BaseRoute]:
    """Every page, the static files, and the page for addresses that lead nowhere.

    The pages do not check who asks: the door in front of them does. With ``sessions`` they
    offer signing in and out.
    """
    site = Site(service, templates)
    pages: list[BaseRoute] = [route for kind in PAGES for route in kind(site).routes()]
    pages += Connect(site, sessions).routes()
    if sessions is not None:
        pages += Login(site, sessions).routes()
    return [Mount("/static", Assets()), *pages, site.route("/{path:path}", site.missing)]
