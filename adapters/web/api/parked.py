"""The endpoints of orders whose calls stand still: the list, and what a person can do about one."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from adapters.operations.ports import Parking, Queries
from adapters.presentation.action_reports import parking_view
from adapters.presentation.paging import PARKED
from adapters.presentation.views import parked_order
from adapters.web.api.action_schemas import ParkedAnswer, ParkedPage, RetryRequest, SkipRequest
from adapters.web.api.operator_header import RequestedBy, action_request
from adapters.web.api.preconditions import IfMatch
from adapters.web.auth import TOKEN
from adapters.web.idempotency import IDEMPOTENT
from adapters.web.openapi import done, dry_run_or_done, read_problems, write_problems
from adapters.web.parameters import Id, ParkedQuery, json_if_any, json_only
from adapters.web.responses import ExactJson


def parked_router(queries: Queries, parking: Parking) -> APIRouter:
    router = APIRouter(prefix="/api/parked", tags=["parked"], dependencies=[TOKEN])

    @router.get("", response_model=ParkedPage, responses=read_problems())
    async def list_parked(query: Annotated[ParkedQuery, Query()]) -> ExactJson:
        """Orders whose calls stand still, smallest order ids first; with `reason`, those parked for just that."""
        rows = await queries.parked(PARKED.start(query.cursor), query.limit + 1, reason=query.reason)
        page, following = PARKED.cut(rows, query.limit)
        return ExactJson({"parked": [parked_order(row) for row in page], "next": following})

    @router.post(
        "/{orderId}/retry",
        status_code=202,
        response_model=ParkedAnswer,
        responses=dry_run_or_done(ParkedAnswer),
        dependencies=[Depends(json_if_any), IDEMPOTENT],
    )
    async def retry_order(
        order_id: Annotated[Id, Path(alias="orderId")],
        by: RequestedBy,
        seen: IfMatch,
        body: RetryRequest | None = None,
    ) -> ExactJson:
        """Makes the order's next call due at once, with all its attempts: of a parked order, and of one that waits
        for its next attempt. However often it is asked for. The body may be left out."""
        wanted = body or RetryRequest()
        asked = action_request(by, wanted.reason, seen, dry_run=wanted.dry_run)
        report = await parking.retry(order_id, asked, dry_run=wanted.dry_run)
        return ExactJson(parking_view(report), 200 if wanted.dry_run else 202)

    @router.post(
        "/{orderId}/skip",
        response_model=ParkedAnswer,
        responses={**done(200), **write_problems(404, 412, 415)},
        dependencies=[Depends(json_only), IDEMPOTENT],
    )
    async def skip_call(
        order_id: Annotated[Id, Path(alias="orderId")], by: RequestedBy, seen: IfMatch, body: SkipRequest
    ) -> ExactJson:
        """Gives up the call at which a parked order stands; the order goes on with its later calls. `warnings` say
        what becomes of it."""
        asked = action_request(by, body.reason, seen, dry_run=body.dry_run)
        report = await parking.skip(order_id, asked, dry_run=body.dry_run, version=body.version)
        return ExactJson(parking_view(report))

    return router
