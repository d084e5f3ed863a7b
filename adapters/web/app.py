"""The HTTP API (contract.md, section 3), made from its parts. Opens nothing itself: whoever serves it does."""

from fastapi import FastAPI

from adapters.web.auth import BearerToken
from adapters.web.description import DescribedApp
from adapters.web.ports import Health, MetricsText, Queries, Replays
from adapters.web.probes import probes_router
from adapters.web.problems import BodyLimit, LastResort, add_problem_handlers
from adapters.web.routes import orders_router, parked_router, quarantine_router


def create_app(
    *,
    queries: Queries,
    replays: Replays,
    health: Health,
    metrics_text: MetricsText,
    api_token: str | None,
) -> FastAPI:
    """Without a token everybody may do everything."""
    app = _bare_app(api_token, openapi_url="/api/openapi.json")
    app.include_router(probes_router(health, metrics_text))
    app.include_router(orders_router(queries, replays))
    app.include_router(parked_router(queries))
    app.include_router(quarantine_router(queries))
    return app


def create_probes_app(*, health: Health, metrics_text: MetricsText) -> FastAPI:
    """For processes without the API."""
    app = _bare_app(None, openapi_url=None)
    app.include_router(probes_router(health, metrics_text))
    return app


def _bare_app(api_token: str | None, *, openapi_url: str | None) -> FastAPI:
    app = DescribedApp(
        title="Order cashback integration",
        openapi_url=openapi_url,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_problem_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit)
    app.add_middleware(BearerToken, token=api_token)
    app.add_middleware(LastResort)
    return app
