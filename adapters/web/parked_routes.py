"""The endpoints of orders whose calls stand still: the list, and what a person can do about one."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from adapters.web.cursors import cut_page, read_cursor, write_cursor
from adapters.web.description import problems
from adapters.web.mending_models import ParkedAnswer, ParkedPage, RetryRequest, SkipRequest
from adapters.web.operators import AskedBy
from adapters.web.ports import Parking, Queries
from adapters.web.requests import Id, PageQuery, json_if_any, json_only
from adapters.web.responses import ExactJson
from adapters.web.routes import TOKEN
from adapters.web.views import parked_order


def parked_router(queries: Queries, parking: Parking) -> APIRouter:
    router = APIRouter(prefix="/api/parked", tags=["parked"], dependencies=[TOKEN])

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

    @router.post(
        "/{orderId}/retry",
        status_code=202,
        response_model=ParkedAnswer,
        responses={
            200: {"model": ParkedAnswer, "description": "Dry run"},
            **problems(400, 401, 404, 409, 413, 415, 422, 503),
        },
        dependencies=[Depends(json_if_any)],
    )
    async def retry_order(
        order_id: Annotated[Id, Path(alias="orderId")], by: AskedBy, body: RetryRequest | None = None
    ) -> ExactJson:
        """Makes the order's next call due at once, with all its attempts: of a parked order, and of one that waits
        for its next attempt. However often it is asked for. The body may be left out."""
        wish = body or RetryRequest()
        report = await parking.retry(order_id, wish.asked_by(by), dry_run=wish.dry_run)
        return ExactJson(report.as_json(), 200 if wish.dry_run else 202)

    @router.post(
        "/{orderId}/skip",
        response_model=ParkedAnswer,
        responses=problems(400, 401, 404, 409, 413, 415, 422, 503),
        dependencies=[Depends(json_only)],
    )
    async def skip_call(
        order_id: Annotated[Id, Path(alias="orderId")], by: AskedBy, body: SkipRequest
    ) -> ExactJson:
        """Gives up the call at which a parked order stands; the order goes on with its later calls. `warnings` say
        what becomes of it."""
        report = await parking.skip(order_id, body.asked_by(by), dry_run=body.dry_run, version=body.version)
        return ExactJson(report.as_json())

    return router
