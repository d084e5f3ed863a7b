"""The lists of what needs a person, and of what people did."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from adapters.presentation.formatting import MAX_HEX_BYTES, hexdump, text_of
from adapters.presentation.paging import ACTIONS, DIFFERENCES, PARKED, QUARANTINE
from adapters.presentation.views import parked_order
from adapters.records.errors import UnknownQuarantined
from adapters.records.jobs import COMPARISONS
from adapters.records.quarantine import Headers, QuarantinedMessage
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import (
    AuditListQuery,
    DifferencesListQuery,
    ParkedListQuery,
    QuarantinedQuery,
    QuarantineListQuery,
)
from adapters.web.parameters import Id

PAGE_ROWS: Final = 50
SHOWN_COMPARISONS: Final = 5


def lists_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    @router.get("/parked")
    async def list_parked(request: Request, query: Annotated[ParkedListQuery, Query()]) -> Response:
        start = PARKED.start(query.cursor)
        rows = await parts.queries.parked(start, PAGE_ROWS + 1, reason=query.reason)
        page, following = PARKED.cut(rows, PAGE_ROWS)
        filters = {"reason": query.reason} if query.reason else {}
        return pages.page(
            request,
            "parked.html",
            parked=[parked_order(row) for row in page],
            causes=await parts.queries.parked_causes(),
            query=query,
            next=next_page("/parked", following, **filters),
        )

    @router.get("/quarantine")
    async def list_quarantine(request: Request, query: Annotated[QuarantineListQuery, Query()]) -> Response:
        state = None if query.state == "all" else query.state
        filters = {name: value for name in ("reason", "topic") if (value := getattr(query, name))}
        rows = await parts.queries.quarantine(state, QUARANTINE.start(query.cursor), PAGE_ROWS + 1, **filters)
        page, following = QUARANTINE.cut(rows, PAGE_ROWS)
        address = next_page("/quarantine", following, state=query.state, **filters)
        causes = await parts.queries.quarantine_causes()
        return pages.page(request, "quarantine.html", messages=page, query=query, causes=causes, next=address)

    @router.get("/quarantine/{quarantine_id}")
    async def show_quarantined(
        request: Request, quarantine_id: Annotated[Id, Path()], query: Annotated[QuarantinedQuery, Query()]
    ) -> Response:
        message = await parts.queries.quarantined(quarantine_id)
        if message is None:
            raise UnknownQuarantined(quarantine_id)
        return pages.page(request, "quarantined.html", message=message, done=query.done, **_contents(message))

    @router.get("/reconciliation")
    async def list_differences(request: Request, query: Annotated[DifferencesListQuery, Query()]) -> Response:
        start = DIFFERENCES.start(query.cursor)
        rows = await parts.reconciliation.page(query.state, query.verdict, start, PAGE_ROWS + 1)
        page, following = DIFFERENCES.cut(rows, PAGE_ROWS)
        filters = {"state": query.state} | ({"class": query.verdict} if query.verdict else {})
        address = next_page("/reconciliation", following, **filters)
        runs = await parts.jobs.page(None, SHOWN_COMPARISONS, COMPARISONS) if parts.may_compare else None
        return pages.page(
            request,
            "reconciliation.html",
            differences=page,
            causes=await parts.queries.difference_causes(),
            query=query,
            next=address,
            comparisons=runs,
        )

    @router.get("/audit")
    async def list_actions(request: Request, query: Annotated[AuditListQuery, Query()]) -> Response:
        rows = await parts.actions.page(query.order, ACTIONS.start(query.cursor), PAGE_ROWS + 1)
        page, following = ACTIONS.cut(rows, PAGE_ROWS)
        filters = {"order": str(query.order)} if query.order else {}
        address = next_page("/audit", following, **filters)
        return pages.page(request, "audit.html", actions=page, order_id=query.order, next=address)

    return router


def next_page(path: str, cursor: str | None, **filters: str) -> str | None:
    return f"{path}?{urlencode(filters | {'cursor': cursor})}" if cursor else None


def _contents(message: QuarantinedMessage) -> dict[str, Any]:
    """Key, value and headers in both forms, as they came and as they were edited."""
    edit = message.edit
    came = (("Value", message.value), ("Key", message.key))
    edited = (("Value, edited", edit.value), ("Key, edited", edit.key))
    return {
        "parts": [
            (name, len(value), hexdump(value), text_of(value))
            for name, value in (*edited, *came)
            if value is not None
        ],
        "headers": _header_texts(message.headers),
        "edited_headers": None if edit.headers is None else _header_texts(edit.headers),
        "max_bytes": MAX_HEX_BYTES,
    }


def _header_texts(headers: Headers) -> list[tuple[str, str | None]]:
    return [(name, None if value is None else text_of(value)) for name, value in headers]
