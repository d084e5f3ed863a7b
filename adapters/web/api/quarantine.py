"""The endpoints of messages that could not be read: the list, one of them, and what a person can do about it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.concurrency import run_in_threadpool

from adapters.operations.ports import QuarantineOperations, Queries
from adapters.presentation.action_reports import quarantine_report_view
from adapters.presentation.paging import QUARANTINE
from adapters.presentation.schemas import QuarantineView
from adapters.presentation.views import quarantine_summary, quarantine_view
from adapters.records.errors import UnknownQuarantined
from adapters.web.api.action_schemas import (
    DiscardRequest,
    QuarantineAnswer,
    QuarantinePage,
    QuarantineRetryRequest,
)
from adapters.web.api.operator_header import RequestedBy, action_request
from adapters.web.auth import TOKEN
from adapters.web.idempotency import IDEMPOTENT
from adapters.web.openapi import done, read_problems, write_problems
from adapters.web.parameters import Id, QuarantineQuery, json_if_any, json_only
from adapters.web.responses import ExactJson


def quarantine_router(queries: Queries, quarantining: QuarantineOperations) -> APIRouter:
    router = APIRouter(prefix="/api/quarantine", tags=["quarantine"], dependencies=[TOKEN])

    @router.get("", response_model=QuarantinePage, responses=read_problems())
    async def list_quarantine(query: Annotated[QuarantineQuery, Query()]) -> ExactJson:
        """Messages that could not be read, the last ones first."""
        start = QUARANTINE.start(query.cursor)
        rows = await queries.quarantine(query.state, start, query.limit + 1, reason=query.reason, topic=query.topic)
        page, following = QUARANTINE.cut(rows, query.limit)
        return ExactJson({"quarantined": [quarantine_summary(row) for row in page], "next": following})

    @router.get("/{id}", response_model=QuarantineView, responses=read_problems(404))
    async def show_quarantined(quarantine_id: Annotated[Id, Path(alias="id")]) -> ExactJson:
        """One message that could not be read, as it came, and what it was edited to if it was read again."""
        message = await queries.quarantined(quarantine_id)
        if message is None:
            raise UnknownQuarantined(quarantine_id)
        return ExactJson(await run_in_threadpool(quarantine_view, message))

    @router.post(
        "/{id}/retry",
        response_model=QuarantineAnswer,
        responses={**done(200), **write_problems(404, 415)},
        dependencies=[Depends(json_if_any), IDEMPOTENT],
    )
    async def retry_message(
        quarantine_id: Annotated[Id, Path(alias="id")], by: RequestedBy, body: QuarantineRetryRequest | None = None
    ) -> ExactJson:
        """Reads the message again, edited if the body says so, and decides it at the place that it had. The body
        may be left out. If it can't be read even so, it's a 422 that says why, and the message stays open."""
        wanted = body or QuarantineRetryRequest()
        asked = action_request(by, wanted.reason, dry_run=wanted.dry_run)
        report = await quarantining.retry(quarantine_id, asked, edit=wanted.edit, dry_run=wanted.dry_run)
        return ExactJson(quarantine_report_view(report))

    @router.post(
        "/{id}/discard",
        response_model=QuarantineAnswer,
        responses={**done(200), **write_problems(404, 415)},
        dependencies=[Depends(json_only), IDEMPOTENT],
    )
    async def discard_message(
        quarantine_id: Annotated[Id, Path(alias="id")], by: RequestedBy, body: DiscardRequest
    ) -> ExactJson:
        """Nobody needs the message any more. It is kept, and can't be read again."""
        asked = action_request(by, body.reason, dry_run=body.dry_run)
        report = await quarantining.discard(quarantine_id, asked, dry_run=body.dry_run)
        return ExactJson(quarantine_report_view(report))

    return router
