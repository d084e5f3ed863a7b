"""The endpoints under /api: each one parses, asks, and answers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from adapters.operations.ports import Interventions, Queries, Replays
from adapters.presentation.action_reports import intervention_view, replay_view
from adapters.presentation.paging import ORDERS
from adapters.presentation.schemas import (
    OrdersPage,
    OrderView,
    ReplayAnswer,
)
from adapters.presentation.views import order_summary
from adapters.records.errors import UnknownOrder
from adapters.records.orders import OrderFilter
from adapters.web.api.action_schemas import InterventionAnswer, ReleaseRequest, SettleRequest
from adapters.web.api.operator_header import RequestedBy, action_request
from adapters.web.api.preconditions import ETAG, IfMatch, IsKnown, tagged_order
from adapters.web.auth import TOKEN
from adapters.web.idempotency import IDEMPOTENT
from adapters.web.openapi import dry_run_or_done, read_problems
from adapters.web.parameters import (
    Id,
    OrdersQuery,
    ReplayRequest,
    json_only,
)
from adapters.web.responses import ExactJson
from domain.money import Till


def orders_router(queries: Queries, replays: Replays, interventions: Interventions, till: Till) -> APIRouter:
    router = APIRouter(prefix="/api/orders", tags=["orders"], dependencies=[TOKEN])

    @router.get("", response_model=OrdersPage, responses=read_problems())
    async def list_orders(query: Annotated[OrdersQuery, Query()]) -> ExactJson:
        """A page of orders, greatest order ids first."""
        wanted = OrderFilter(query.status, query.buyer, query.doubtful, query.held, query.mismatch)
        rows = await queries.orders(wanted, ORDERS.start(query.cursor), query.limit + 1)
        page, following = ORDERS.cut(rows, query.limit)
        return ExactJson({"orders": [order_summary(row) for row in page], "next": following})

    @router.get(
        "/{orderId}",
        response_model=OrderView,
        responses={
            200: {"headers": ETAG},
            304: {"description": "Nothing has changed", "headers": ETAG},
            **read_problems(404),
        },
    )
    async def show_order(order_id: Annotated[Id, Path(alias="orderId")], is_known: IsKnown) -> Response:
        """One order, from its events: what was paid or is owed, state, amounts, and every message with its decision
        and calls. Writes take its `ETag` as `If-Match`."""
        record = await queries.order(order_id)
        if record is None:
            raise UnknownOrder(order_id)
        body, tag = await run_in_threadpool(tagged_order, record, till)
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if is_known(tag):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=ExactJson.media_type, headers=headers)

    @router.post(
        "/{orderId}/replay",
        status_code=202,
        response_model=ReplayAnswer,
        responses=dry_run_or_done(ReplayAnswer, 502),
        dependencies=[Depends(json_only), IDEMPOTENT],
    )
    async def replay_order(
        order_id: Annotated[Id, Path(alias="orderId")], by: RequestedBy, seen: IfMatch, body: ReplayRequest
    ) -> ExactJson:
        """Sends an order's calls or messages again; with `dryRun` it only says which, and what that could cost."""
        asked = action_request(by, body.reason, seen, dry_run=body.dry_run)
        report = await replays.replay(order_id, body.mode, asked=asked, dry_run=body.dry_run, options=body.options)
        return ExactJson(replay_view(report), 200 if body.dry_run else 202)

    @router.post(
        "/{orderId}/settle",
        status_code=202,
        response_model=InterventionAnswer,
        responses=dry_run_or_done(InterventionAnswer),
        dependencies=[Depends(json_only), IDEMPOTENT],
    )
    async def settle_order(
        order_id: Annotated[Id, Path(alias="orderId")], by: RequestedBy, seen: IfMatch, body: SettleRequest
    ) -> ExactJson:
        """Settles all that is in doubt about an order: what stands counts, and what the doubt held back goes on."""
        asked = action_request(by, body.reason, seen, dry_run=body.dry_run)
        report = await interventions.settle(order_id, asked, dry_run=body.dry_run)
        return ExactJson(intervention_view(report), 200 if body.dry_run else 202)

    @router.post(
        "/{orderId}/release",
        status_code=202,
        response_model=InterventionAnswer,
        responses=dry_run_or_done(InterventionAnswer),
        dependencies=[Depends(json_only), IDEMPOTENT],
    )
    async def release_order(
        order_id: Annotated[Id, Path(alias="orderId")], by: RequestedBy, seen: IfMatch, body: ReleaseRequest
    ) -> ExactJson:
        """Gives up what held messages wait for: they have their turn, or, without a CREATED, are closed unpaid."""
        asked = action_request(by, body.reason, seen, dry_run=body.dry_run)
        report = await interventions.release(order_id, asked, numbers=body.numbers, dry_run=body.dry_run)
        return ExactJson(intervention_view(report), 200 if body.dry_run else 202)

    return router
