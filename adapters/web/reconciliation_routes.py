"""The endpoint of reconciliation: orders on which the third party and we don't agree."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from adapters.postgres.reconciliation import DifferenceClass, DifferenceState
from adapters.web.cursors import cut_page, read_cursor, write_cursor
from adapters.web.description import read_problems
from adapters.web.models import Amount
from adapters.web.ports import Reconciliation
from adapters.web.requests import NEXT, Empty, PageQuery, like_cursor
from adapters.web.responses import ExactJson
from adapters.web.routes import TOKEN
from adapters.web.views import difference_view
from domain.lifecycle import Status

DifferenceView = TypedDict(
    "DifferenceView",
    {
        "id": int,
        "orderId": int,
        "class": DifferenceClass,
        "ours": "StandingView | None",
        "theirs": "StandingView | None",
        "detail": str | None,
        "firstSeenAt": datetime,
        "lastSeenAt": datetime,
        "closedAt": datetime | None,
    },
)
"""A difference. A side is null where it has no such order."""


class StandingView(TypedDict):
    """Where the order stands on one side. Ours: what our delivered calls should have brought about; of an order
    that is in flight, what all of its calls will."""

    status: Status
    cashbackAmount: Amount | None


class DifferencesPage(TypedDict):
    """The last ones first."""

    differences: list[DifferenceView]
    next: str | None


class DifferencesQuery(PageQuery):
    cursor: Annotated[Annotated[str, like_cursor("reconciliation")] | None, Empty, Field(description=NEXT)] = None
    state: DifferenceState = "open"
    verdict: Annotated[DifferenceClass | None, Field(alias="class")] = None


def reconciliation_router(reconciliation: Reconciliation) -> APIRouter:
    router = APIRouter(prefix="/api/reconciliation", tags=["reconciliation"], dependencies=[TOKEN])

    @router.get("", response_model=DifferencesPage, responses=read_problems())
    async def list_differences(query: Annotated[DifferencesQuery, Query()]) -> ExactJson:
        """Orders on which the third party and we didn't agree when they were last compared."""
        start = read_cursor("reconciliation", query.cursor)
        rows = await reconciliation.page(query.state, query.verdict, start, query.limit + 1)
        page, last = cut_page(rows, query.limit)
        return ExactJson(
            {
                "differences": [difference_view(row) for row in page],
                "next": write_cursor("reconciliation", last.id - 1) if last else None,
            }
        )

    return router
