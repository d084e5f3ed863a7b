"""The endpoint of the orders whose money may be wrong."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from adapters.operations.ports import MoneyMayBeWrong
from adapters.presentation.paging import PLACE_PATTERN, cut_cases, read_place
from adapters.presentation.schemas import CaseView
from adapters.presentation.views import case_view
from adapters.records.money_may_be_wrong import CaseKind, CaseSort
from adapters.web.auth import TOKEN
from adapters.web.openapi import read_problems
from adapters.web.parameters import NEXT, Empty, PageQuery
from adapters.web.responses import ExactJson

_SORT: Final = "the greatest amount at stake first, or the oldest; later pages go on as the first one"
_Cursor = Annotated[str, WithJsonSchema({"type": "string", "pattern": PLACE_PATTERN})]


class CasesPage(TypedDict):
    """An order is there once for each reason."""

    cases: list[CaseView]
    next: str | None


class CasesQuery(PageQuery):
    kind: Annotated[CaseKind | None, Empty] = None
    sort: Annotated[CaseSort, Field(description=_SORT)] = CaseSort.AMOUNT
    cursor: Annotated[_Cursor | None, Empty, Field(description=NEXT)] = None


def money_router(money_may_be_wrong: MoneyMayBeWrong) -> APIRouter:
    router = APIRouter(prefix="/api/money-may-be-wrong", tags=["money may be wrong"], dependencies=[TOKEN])

    @router.get("", response_model=CasesPage, responses=read_problems())
    async def list_cases(query: Annotated[CasesQuery, Query()]) -> ExactJson:
        """Orders whose money may be wrong, why, and what to do next: doubtful, held or open for too long, parked,
        with a message in quarantine, or different from the third party's books."""
        place = read_place(query.cursor)
        sort = place.sort if place else query.sort
        rows = await money_may_be_wrong.page(query.kind, sort, place, query.limit + 1)
        page, following = cut_cases(rows, query.limit, sort)
        return ExactJson(
            {
                "cases": [case_view(each) for each in page],
                "next": following,
            }
        )

    return router
