"""The REST application, assembled from its routers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from llm_observe.control.api import agents, grants, server, settings, traces
from llm_observe.control.api.answers import ERRORS, HANDLERS, SCHEMAS
from llm_observe.control.service import Service, release

DESCRIPTION = """\
Everything that the pages and the command line do. Errors are `application/problem+json` with one
entry in `problems` per wrong key. Lists are `{"items": […], "next": cursor or null}`; pass `next`
back as `cursor`. Times are Unix seconds.

With an admin token: `Authorization: Bearer …`. On loopback none is needed until one is made.
"""


class Rest(FastAPI):
    """FastAPI, whose document also holds the schemas of our errors."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        document["components"]["schemas"].update(SCHEMAS)
        return document


def rest(service: Service) -> FastAPI:
    """The application to be mounted at ``/api/v1``; its OpenAPI document is at ``openapi.json``."""
    app = Rest(
        title="llm-observe control plane",
        version=release(),
        description=DESCRIPTION,
        docs_url=None,  # both would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
        servers=[{"url": "/api/v1"}],
        root_path_in_servers=False,
        responses=ERRORS,
        exception_handlers=HANDLERS,
    )
    app.state.service = service
    for module in (server, agents, settings, grants, traces):
        app.include_router(module.router)
    return app
