"""For machines that watch the server: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from llm_observe.control.rules.model import AgentCounts
from llm_observe.control.service import Service
from llm_observe.errors import StoreError

TEXT = "text/plain; version=0.0.4; charset=utf-8"


def routes(service: Service) -> list[BaseRoute]:
    """All three; the first two are open to everybody and tell nothing."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        try:
            await service.check()
        except StoreError:
            return JSONResponse({"status": "the storage does not answer"}, 503)
        return JSONResponse({"status": "ready"})

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(await prometheus(service), media_type=TEXT)

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


async def prometheus(service: Service) -> str:
    """The server's own figures in Prometheus' text format."""
    status, load = await service.status(), service.load()
    rows = [
        *_agents(status.agents),
        ("llm_observe_spans_stored", "gauge", "Spans in the store.", {}, status.spans),
        ("llm_observe_spans_bytes", "gauge", "Size of the span store.", {}, status.storage.spans_bytes),
        ("llm_observe_control_bytes", "gauge", "Size of control.db.", {}, status.storage.control_bytes),
        ("llm_observe_writes_total", "counter", "Writes to control.db.", {}, load.writes),
        ("llm_observe_commits_total", "counter", "Transactions of control.db.", {}, load.commits),
        ("llm_observe_writes_waiting", "gauge", "Writes that wait.", {}, load.waiting),
        ("llm_observe_intakes_total", "counter", "OTLP requests stored.", {}, load.intakes),
        ("llm_observe_watchers", "gauge", "Pages and programs that watch.", {}, load.watchers),
        ("llm_observe_start_time_seconds", "gauge", "When the server started.", {}, status.started),
    ]  # fmt: skip
    return "\n".join(_lines(rows)) + "\n"


_Row = tuple[str, str, str, dict[str, str], float]


def _agents(counts: AgentCounts) -> Iterator[_Row]:
    name, about = "llm_observe_agents", "Agents by presence."
    yield name, "gauge", about, {"state": "connected"}, counts.connected
    yield name, "gauge", about, {"state": "away"}, counts.total - counts.connected
    name, about = (
        "llm_observe_agents_config",
        "Connected agents by how they stand to what is wanted.",
    )
    for state in ("in_sync", "pending", "refused", "not_managed"):
        yield name, "gauge", about, {"state": state}, getattr(counts, state)
    yield "llm_observe_agents_unhealthy", "gauge", "Connected and unhealthy.", {}, counts.unhealthy


def _lines(rows: list[_Row]) -> Iterator[str]:
    said: set[str] = set()
    for name, kind, about, labels, value in rows:
        if name not in said:
            said.add(name)
            yield f"# HELP {name} {about}"
            yield f"# TYPE {name} {kind}"
        inner = ",".join(f'{key}="{text}"' for key, text in labels.items())
        yield f"{name}{{{inner}}} {value:.15g}" if inner else f"{name} {value:.15g}"
