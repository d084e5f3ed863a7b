"""The runbooks, as they are in docs/runbooks."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from adapters.presentation.runbooks import runbook
from adapters.web.console.pages import Pages
from adapters.web.responses import ProblemResponse


def runbooks_router(pages: Pages) -> APIRouter:
    router = APIRouter()

    @router.get("/runbooks/{name}")
    async def show_runbook(request: Request, name: Annotated[str, Path(max_length=64)]) -> Response:
        found = await run_in_threadpool(runbook, name)
        if found is None:
            return ProblemResponse(404, "there is no such runbook")
        return pages.page(request, "runbook.html", runbook=found)

    return router
