"""Jobs do something to many orders: which run and which have ended, how far each has come, and its end."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from adapters.presentation.paging import JOBS
from adapters.records.jobs import COMPARE, JobState
from adapters.web.console.bulk_replays import show_preview
from adapters.web.console.confirmation import operator_of
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.lists import PAGE_ROWS, next_page
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import CursorQuery


def jobs_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    @router.get("/jobs")
    async def list_jobs(request: Request, query: Annotated[CursorQuery, Query()]) -> Response:
        rows = await parts.jobs.page(JOBS.start(query.cursor), PAGE_ROWS + 1)
        page, following = JOBS.cut(rows, PAGE_ROWS)
        return pages.page(request, "jobs.html", jobs=page, next=next_page("/jobs", following))

    @router.get("/jobs/{job_id}")
    async def show_job(request: Request, job_id: Annotated[UUID, Path()]) -> Response:
        """One that nobody has started yet: its preview, for whoever should look at it, and may start it."""
        job = await parts.jobs.get(job_id)
        if job.state is JobState.PREVIEWED:
            return show_preview(pages, request, await parts.jobs.previewed(job_id))
        return pages.page(request, "job.html", job=job)

    @router.post("/jobs/{job_id}/cancel")
    async def cancel_job(request: Request, job_id: Annotated[UUID, Path()]) -> Response:
        """Without a question: it is the brake. A comparison that has ended meanwhile only shows so."""
        job = await parts.jobs.get(job_id)
        if job.kind != COMPARE or job.state is JobState.RUNNING:
            await parts.jobs.cancel(job_id, by=operator_of(request))
        return RedirectResponse(f"/jobs/{job_id}", 303)

    @router.get("/replays")
    async def former_list() -> Response:
        return RedirectResponse("/jobs", 308)

    @router.get("/replays/{job_id}")
    @router.get("/reconciliation/runs/{job_id}")
    async def former_page(job_id: Annotated[UUID, Path()]) -> Response:
        """Where links in tickets and chats lead."""
        return RedirectResponse(f"/jobs/{job_id}", 308)

    return router
