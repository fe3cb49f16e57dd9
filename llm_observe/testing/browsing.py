"""What of the fake Replicate can be read without making anything: models, versions, deployments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llm_observe.testing import requests
from llm_observe.testing.catalogue import Catalogue

Endpoint = Callable[[Request], Awaitable[Response]]


class Browsing:
    """The endpoints over a catalogue. What it does not know is a KeyError, which means 404."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def routes(self, model: str, deployment: str) -> list[tuple[str, str, Endpoint]]:
        """Method, path and endpoint of each, under the paths of one model and one deployment."""
        return [
            ("GET", "/v1/models", self._models),
            ("GET", model, self._model),
            ("GET", f"{model}/versions", self._versions),
            ("GET", f"{model}/versions/{{version}}", self._version),
            ("GET", "/v1/deployments", self._deployments),
            ("GET", deployment, self._deployment),
        ]

    async def _models(self, _request: Request) -> Response:
        return _page([self._catalogue.model(name) for name in self._catalogue.models])

    async def _model(self, request: Request) -> Response:
        return JSONResponse(self._catalogue.model(requests.owner_and_name(request)))

    async def _versions(self, request: Request) -> Response:
        """An official model has versions, but no list of them."""
        name = requests.owner_and_name(request)
        if name in self._catalogue.official:
            raise KeyError(name)
        return _page([self._catalogue.version(name, self._catalogue.version_of(name))])

    async def _version(self, request: Request) -> Response:
        name = requests.owner_and_name(request)
        return JSONResponse(self._catalogue.version(name, request.path_params["version"]))

    async def _deployments(self, _request: Request) -> Response:
        return _page([self._catalogue.deployment(name) for name in self._catalogue.deployments])

    async def _deployment(self, request: Request) -> Response:
        return JSONResponse(self._catalogue.deployment(requests.owner_and_name(request)))


def _page(results: list[dict[str, object]]) -> Response:
    return JSONResponse({"previous": None, "next": None, "results": results})
