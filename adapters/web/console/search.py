"""The search: one text, whatever it is of."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from adapters.records.orders import OrderFilter
from adapters.records.search import SearchResult, written
from adapters.records.status import ListedOrder
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.orders import PAGE_ROWS
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import SearchQuery

_GUESSED: Final = "beginning"


def search_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    @router.get("/search")
    async def search(request: Request, query: Annotated[SearchQuery, Query()]) -> Response:
        """What alone is meant is opened at once: an order by its id, unless the same text is also of others."""
        if not query.q:
            return RedirectResponse("/orders", 303)
        found = await parts.console.find(query.q)
        if (only := _only(found)) is not None:
            return RedirectResponse(only, 303)
        of_buyer = await _of_buyer(query.q) if "buyer" in found.orders else []
        more = f"/orders?{urlencode({'buyer': of_buyer[0].row.buyer_id})}" if len(of_buyer) > PAGE_ROWS else None
        return pages.page(
            request, "search.html", wanted=query.q, found=found, of_buyer=of_buyer[:PAGE_ROWS], more_of_buyer=more
        )

    async def _of_buyer(text: str) -> list[ListedOrder]:
        rows: list[ListedOrder] = []
        for buyer in written(text):
            rows += await parts.console.orders(
                OrderFilter(buyer=buyer), parked=False, start=None, upwards=False, limit=PAGE_ROWS + 1
            )
        return rows

    return router


def _only(found: SearchResult) -> str | None:
    exact = {what: ids for what, ids in found.orders.items() if what != _GUESSED}
    order_ids = {each for ids in exact.values() for each in ids}
    if len(order_ids) == 1 and "buyer" not in exact and ("order" in exact or not found.quarantined):
        return f"/orders/{order_ids.pop()}"
    if len(found.quarantined) == 1 and not found.orders:
        return f"/quarantine/{found.quarantined[0]}"
    return None
