"""The endpoints of messages that could not be read: the list, one of them, and what a person can do about it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.concurrency import run_in_threadpool

from adapters.refusals import UnknownQuarantined
from adapters.web.cursors import cut_page, read_cursor, write_cursor
from adapters.web.description import problems
from adapters.web.mending_models import (
    DiscardRequest,
    QuarantineAnswer,
    QuarantinePage,
    QuarantineRetryRequest,
)
from adapters.web.models import QuarantineView
from adapters.web.operators import AskedBy
from adapters.web.ports import Quarantining, Queries
from adapters.web.requests import Id, QuarantineQuery, json_if_any, json_only
from adapters.web.responses import ExactJson
from adapters.web.routes import TOKEN
from adapters.web.views import quarantine_summary, quarantine_view


def quarantine_router(queries: Queries, quarantining: Quarantining) -> APIRouter:
    router = APIRouter(prefix="/api/quarantine", tags=["quarantine"], dependencies=[TOKEN])

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
        """One message that could not be read, as it came, and what it was edited to if it was read again."""
        message = await queries.quarantined(quarantine_id)
        if message is None:
            raise UnknownQuarantined(quarantine_id)
        return ExactJson(await run_in_threadpool(quarantine_view, message))

    @router.post(
        "/{id}/retry",
        response_model=QuarantineAnswer,
        responses=problems(400, 401, 404, 409, 413, 415, 422, 503),
        dependencies=[Depends(json_if_any)],
    )
    async def retry_message(
        quarantine_id: Annotated[Id, Path(alias="id")], by: AskedBy, body: QuarantineRetryRequest | None = None
    ) -> ExactJson:
        """Reads the message again, edited if the body says so, and decides it at the place that it had. The body
        may be left out. If it can't be read even so, it's a 422 that says why, and the message stays open."""
        wish = body or QuarantineRetryRequest()
        report = await quarantining.retry(quarantine_id, wish.asked_by(by), edit=wish.edit, dry_run=wish.dry_run)
        return ExactJson(report.as_json())

    @router.post(
        "/{id}/discard",
        response_model=QuarantineAnswer,
        responses=problems(400, 401, 404, 409, 413, 415, 422, 503),
        dependencies=[Depends(json_only)],
    )
    async def discard_message(
        quarantine_id: Annotated[Id, Path(alias="id")], by: AskedBy, body: DiscardRequest
    ) -> ExactJson:
        """Nobody needs the message any more. It is kept, and can't be read again."""
        report = await quarantining.discard(quarantine_id, body.asked_by(by), dry_run=body.dry_run)
        return ExactJson(report.as_json())

    return router
