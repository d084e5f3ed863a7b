"""The endpoint of reconciliation: orders on which the third party and we don't agree."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from adapters.operations.ports import Reconciliation
from adapters.presentation.paging import DIFFERENCES
from adapters.presentation.schemas import DifferencesPage
from adapters.presentation.views import difference_view
from adapters.records.differences import DifferenceClass, DifferenceState
from adapters.web.auth import TOKEN
from adapters.web.openapi import read_problems
from adapters.web.parameters import NEXT, Empty, PageQuery, like_cursor
from adapters.web.responses import ExactJson


class DifferencesQuery(PageQuery):
    cursor: Annotated[Annotated[str, like_cursor("reconciliation")] | None, Empty, Field(description=NEXT)] = None
    state: DifferenceState = "open"
    verdict: Annotated[DifferenceClass | None, Field(alias="class")] = None


def reconciliation_router(reconciliation: Reconciliation) -> APIRouter:
    router = APIRouter(prefix="/api/reconciliation", tags=["reconciliation"], dependencies=[TOKEN])

    @router.get("", response_model=DifferencesPage, responses=read_problems())
    async def list_differences(query: Annotated[DifferencesQuery, Query()]) -> ExactJson:
        """Orders on which the third party and we didn't agree when they were last compared."""
        start = DIFFERENCES.start(query.cursor)
        rows = await reconciliation.page(query.state, query.verdict, start, query.limit + 1)
        page, following = DIFFERENCES.cut(rows, query.limit)
        return ExactJson({"differences": [difference_view(row) for row in page], "next": following})

    return router
