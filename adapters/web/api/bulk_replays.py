"""The endpoints of bulk replays: a preview first, then its start with the preview's token."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from adapters.operations.ports import Jobs
from adapters.presentation.jobs import BulkView, PreviewView, bulk_view, preview_view
from adapters.presentation.paging import REPLAYS
from adapters.records.jobs import BULK
from adapters.web.api.operator_header import RequestedBy
from adapters.web.auth import TOKEN
from adapters.web.bulk_requests import BulkPage, BulkRequest, StartRequest
from adapters.web.idempotency import IDEMPOTENT
from adapters.web.openapi import done, read_problems, write_problems
from adapters.web.parameters import BulkQuery, json_only
from adapters.web.responses import ExactJson

BULK_PATH: Final = "/api/replays"
MAX_BULK_BODY_BYTES: Final = 3 * 1024 * 1024
"""Room for as many order ids as a bulk replay may have."""


def bulk_router(jobs: Jobs) -> APIRouter:
    router = APIRouter(prefix=BULK_PATH, tags=["bulk replays"], dependencies=[TOKEN])

    @router.post(
        "",
        status_code=201,
        response_model=PreviewView,
        responses={**done(201), **write_problems(415)},
        dependencies=[Depends(json_only), IDEMPOTENT],
    )
    async def preview_replay(body: BulkRequest) -> ExactJson:
        """Freezes the set of orders that are selected now, and says what would be done. Nothing is done yet."""
        preview = await jobs.preview(
            body.mode, body.select.selection, body.rate_per_second, body.reason.strip(), body.options
        )
        location = {"Location": f"{BULK_PATH}/{preview.replay.id}"}
        return ExactJson(preview_view(preview), 201, location)

    @router.get("", response_model=BulkPage, responses=read_problems())
    async def list_replays(query: Annotated[BulkQuery, Query()]) -> ExactJson:
        """Bulk replays, the last ones first."""
        rows = await jobs.page(REPLAYS.start(query.cursor), query.limit + 1, BULK)
        page, following = REPLAYS.cut(rows, query.limit)
        return ExactJson({"replays": [bulk_view(row) for row in page], "next": following})

    @router.get("/{id}", response_model=BulkView, responses=read_problems(404))
    async def show_replay(replay_id: Annotated[UUID, Path(alias="id")]) -> ExactJson:
        """How far it has come."""
        return ExactJson(bulk_view(await jobs.get(replay_id, BULK)))

    @router.post(
        "/{id}/start",
        status_code=202,
        response_model=BulkView,
        responses={**done(202), **write_problems(404, 410, 415)},
        dependencies=[Depends(json_only), IDEMPOTENT],
    )
    async def start_replay(
        replay_id: Annotated[UUID, Path(alias="id")], by: RequestedBy, body: StartRequest
    ) -> ExactJson:
        """Does what the preview showed. While another of the same mode is at work on one of the orders, it's a 409
        that names it."""
        return ExactJson(bulk_view(await jobs.start(replay_id, body.token, by=by)), 202)

    @router.post(
        "/{id}/cancel",
        response_model=BulkView,
        responses={**done(200), **write_problems(404)},
        dependencies=[IDEMPOTENT],
    )
    async def cancel_replay(replay_id: Annotated[UUID, Path(alias="id")], by: RequestedBy) -> ExactJson:
        """Ends it behind the few orders that are under way at this moment; they are still counted."""
        return ExactJson(bulk_view(await jobs.cancel(replay_id, by=by, kinds=BULK)))

    return router
