"""The endpoints under /api: each one parses, asks, and answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from adapters.operators import Asked
from adapters.postgres.queries import OrderFilter
from adapters.refusals import UnknownOrder
from adapters.web.cursors import cut_page, read_cursor, write_cursor
from adapters.web.description import problems
from adapters.web.models import (
    OrdersPage,
    OrderView,
    ReplayAnswer,
)
from adapters.web.operators import AskedBy
from adapters.web.order_view import order_view
from adapters.web.ports import Queries, Replays
from adapters.web.requests import (
    Id,
    OrdersQuery,
    ReplayRequest,
    json_only,
)
from adapters.web.responses import ExactJson
from adapters.web.views import order_summary

# For the description only: auth.py asks for the token, on every path.
TOKEN = Depends(HTTPBearer(auto_error=False, description="CASHBACK_API_TOKEN"))


def orders_router(queries: Queries, replays: Replays) -> APIRouter:
    router = APIRouter(prefix="/api/orders", tags=["orders"], dependencies=[TOKEN])

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
            **problems(400, 401, 404, 409, 413, 415, 422, 502, 503),
        },
        dependencies=[Depends(json_only)],
    )
    async def replay_order(
        order_id: Annotated[Id, Path(alias="orderId")], by: AskedBy, body: ReplayRequest
    ) -> ExactJson:
        """Sends an order's calls or messages again; with `dryRun` it only says which, and what that could cost."""
        asked = Asked(by, (body.reason or "").strip())
        report = await replays.replay(order_id, body.mode, asked=asked, dry_run=body.dry_run, wish=body.wish)
        return ExactJson(report.as_json(), 200 if body.dry_run else 202)

    return router
