"""The list of orders whose money may be wrong, and their number in the menu."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from adapters.presentation.overview import STALE_SECONDS
from adapters.presentation.paging import cut_cases, read_place
from adapters.records.money_may_be_wrong import KINDS, CaseSort, next_step, total_of
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import CasesListQuery

PATH: Final = "/money-may-be-wrong"
PAGE_ROWS: Final = 50


def money_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    @router.get(PATH)
    async def list_cases(request: Request, query: Annotated[CasesListQuery, Query()]) -> Response:
        place = read_place(query.cursor)
        sort = place.sort if place else query.sort
        rows = await parts.money_may_be_wrong.page(query.kind, sort, place, PAGE_ROWS + 1)
        page, following = cut_cases(rows, PAGE_ROWS, sort)
        totals = await parts.money_may_be_wrong.totals()
        kept = {"kind": query.kind or "", "sort": sort, "cursor": following or ""}
        return pages.page(
            request,
            "money.html",
            cases=[(each, next_step(each)) for each in page],
            totals=totals,
            all=total_of(totals),
            kinds=KINDS,
            sorts=list(CaseSort),
            kind=query.kind,
            sort=sort,
            next=f"{PATH}?{urlencode(kept)}" if following else None,
        )

    return router


class CaseCount:
    """Tells each page, for its menu, how many cases and differences there were when somebody last counted. Signing
    in and out needs no database."""

    def __init__(self, parts: ConsoleParts) -> None:
        self._console = parts.console

    async def __call__(self, request: Request) -> None:
        if request.method != "GET" or getattr(request.state, "session", None) is None:
            return
        samples = await self._console.samples(STALE_SECONDS)
        if samples:
            request.state.cases = total_of(samples[-1].numbers.money_may_be_wrong).number
            request.state.differences = samples[-1].numbers.differences
