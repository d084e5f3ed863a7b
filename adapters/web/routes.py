"""The endpoints under /api: each one parses, asks, and answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from adapters.postgres.queries import OrderFilter
from adapters.replay import UnknownOrder
from adapters.web.cursors import cut_page, read_cursor, write_cursor
from adapters.web.description import problems
from adapters.web.models import (
    OrdersPage,
    OrderView,
    ParkedPage,
    QuarantinePage,
    QuarantineView,
    ReplayAnswer,
)
from adapters.web.order_view import order_view
from adapters.web.ports import Queries, Replays
from adapters.web.requests import (
    Id,
    OrdersQuery,
    PageQuery,
    QuarantineQuery,
    ReplayRequest,
    json_only,
)
from adapters.web.responses import ExactJson
from adapters.web.views import order_summary, parked_order, quarantine_summary, quarantine_view

# For the description only: auth.py asks for the token, on every path.
_TOKEN = Depends(HTTPBearer(auto_error=False, description="CASHBACK_API_TOKEN"))


def orders_router(queries: Queries, replays: Replays) -> APIRouter:
    router = APIRouter(prefix="/api/orders", tags=["orders"], dependencies=[_TOKEN])

    @router.get("", response_model=OrdersPage, responses=problems(400, 401, 503))
    async def list_orders(query: Annotated[OrdersQuery, Query()]) -> ExactJson:
        """A page of orders, greatest order ids first."""
        wanted = OrderFilter(query.status, query.buyer, query.doubtful, query.held)
        rows = await queries.orders(wanted, read_cursor("orders", query.cursor), query.limit + 1)
        page, last = cut_page(rows, query.limit)
        return ExactJson(
            {
                "orders": [order_summary(row) for row in page],
                "next": write_cursor("orders", last.order_id - 1) if last else None,
            }
        )

    @router.get("/{orderId}", response_model=OrderView, responses=problems(400, 401, 404, 503))
    async def show_order(order_id: Annotated[Id, Path(alias="orderId")]) -> ExactJson:
        """One order, from its events: state, amounts, and every message with its decision and calls."""
        record = await queries.order(order_id)
        if record is None:
            raise UnknownOrder(order_id)
        return ExactJson(await run_in_threadpool(order_view, record))

    @router.post(
        "/{orderId}/replay",
        status_code=202,
        response_model=ReplayAnswer,
        responses={
            200: {"model": ReplayAnswer, "description": "Dry run"},
            **problems(400, 401, 404, 413, 415, 422, 502, 503),
        },
        dependencies=[Depends(json_only)],
    )
    async def replay_order(order_id: Annotated[Id, Path(alias="orderId")], body: ReplayRequest) -> ExactJson:
        """Sends an order's calls or messages again; with `dryRun` it only says which."""
        report = await replays.replay(order_id, body.mode, dry_run=body.dry_run, reason=(body.reason or "").strip())
        return ExactJson(report.as_json(), 200 if body.dry_run else 202)

    return router


def parked_router(queries: Queries) -> APIRouter:
    router = APIRouter(prefix="/api/parked", tags=["parked"], dependencies=[_TOKEN])

    @router.get("", response_model=ParkedPage, responses=problems(400, 401, 503))
    async def list_parked(query: Annotated[PageQuery, Query()]) -> ExactJson:
        """Orders whose calls stand still, smallest order ids first."""
        rows = await queries.parked(read_cursor("parked", query.cursor), query.limit + 1)
        page, last = cut_page(rows, query.limit)
        return ExactJson(
            {
                "parked": [parked_order(row) for row in page],
                "next": write_cursor("parked", last.order_id + 1) if last else None,
            }
        )

    return router


def quarantine_router(queries: Queries) -> APIRouter:
    router = APIRouter(prefix="/api/quarantine", tags=["quarantine"], dependencies=[_TOKEN])

    @router.get("", response_model=QuarantinePage, responses=problems(400, 401, 503))
    async def list_quarantine(query: Annotated[QuarantineQuery, Query()]) -> ExactJson:
        """Messages that could not be read, the last ones first."""
        rows = await queries.quarantine(query.state, read_cursor("quarantine", query.cursor), query.limit + 1)
        page, last = cut_page(rows, query.limit)
        return ExactJson(
            {
                "quarantined": [quarantine_summary(row) for row in page],
                "next": write_cursor("quarantine", last.id - 1) if last else None,
            }
        )

    @router.get("/{id}", response_model=QuarantineView, responses=problems(400, 401, 404, 503))
    async def show_quarantined(quarantine_id: Annotated[Id, Path(alias="id")]) -> ExactJson:
        """One message that could not be read, as it came."""
        message = await queries.quarantined(quarantine_id)
        if message is None:
            raise HTTPException(404, f"there is no message {quarantine_id} in quarantine")
        return ExactJson(await run_in_threadpool(quarantine_view, message))

    return router
