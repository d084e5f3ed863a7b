"""Probes and metrics: open to everybody, and without the database."""

from fastapi import APIRouter
from starlette.responses import Response

from adapters.web.ports import Health, MetricsText
from adapters.web.responses import ExactJson


def probes_router(health: Health, metrics_text: MetricsText) -> APIRouter:
    router = APIRouter(tags=["probes"])

    @router.get("/livez")
    async def livez() -> ExactJson:
        """503 if the process must be restarted."""
        live = health.live()
        return ExactJson({"status": "ok" if live else "dead"}, 200 if live else 503)

    @router.get("/readyz")
    async def readyz() -> ExactJson:
        """503 if a part can't do its work just now; the body says which, and why."""
        ready, details = health.ready()
        return ExactJson({"status": "ok" if ready else "not ready", **details}, 200 if ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        """In the Prometheus text format."""
        body, content_type = metrics_text()
        return Response(body, headers={"Content-Type": content_type})

    return router
