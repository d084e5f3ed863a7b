"""Probes and metrics: open to everybody, and without the database."""

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from adapters.operations.ports import HealthCheck, MetricsText
from adapters.web.responses import ExactJson


class Probe(TypedDict, total=False):
    """Of `/readyz`: `parts`: what each part of the process does or waits for; `reasons`: why, where it is known.

    `databaseRewound`: when and by which sign the process has seen last that the database has gone back in time."""

    status: str
    parts: dict[str, str]
    reasons: dict[str, str]
    stoppedPartitions: dict[str, dict[str, str]]
    databaseRewound: dict[str, str]


def probes_router(health: HealthCheck, metrics_text: MetricsText) -> APIRouter:
    router = APIRouter(tags=["probes"])

    @router.get("/livez", response_model=Probe, responses={503: {"model": Probe, "description": "Dead"}})
    async def livez() -> ExactJson:
        """503 if the process must be restarted."""
        live = health.live()
        return ExactJson({"status": "ok" if live else "dead"}, 200 if live else 503)

    @router.get("/readyz", response_model=Probe, responses={503: {"model": Probe, "description": "Not ready"}})
    async def readyz() -> ExactJson:
        """503 if a part can't do its work just now; the body says which, and why."""
        ready, details = health.ready()
        return ExactJson({"status": "ok" if ready else "not ready", **details}, 200 if ready else 503)

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        """In the Prometheus text format."""
        body, content_type = metrics_text()
        return Response(body, headers={"Content-Type": content_type})

    return router
