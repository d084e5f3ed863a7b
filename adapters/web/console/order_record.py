"""Everything that was said about an order: to keep, and two messages to compare."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from adapters.presentation.message_texts import side_by_side
from adapters.presentation.order_texts import event_document
from adapters.presentation.order_view import order_view
from adapters.records.errors import UnknownOrder, UnknownVersion
from adapters.records.orders import OrderRecord
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import MessagesQuery
from adapters.web.parameters import Id
from domain.events import MessageEvent
from domain.exact_json import dumps
from domain.money import Till


def record_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    @router.get("/orders/{order_id}/record.json")
    async def download_order(order_id: Annotated[Id, Path()]) -> Response:
        """What the API answers about it, to keep."""
        record = await _known(order_id)
        body = await run_in_threadpool(lambda: dumps(order_view(record, parts.till)))
        return _attachment(body, f"order-{order_id}.json")

    @router.get("/orders/{order_id}/record/{version}.json")
    async def download_event(order_id: Annotated[Id, Path()], version: Annotated[Id, Path()]) -> Response:
        """What was received, sent and answered because of one event."""
        record = await _known(order_id)
        body = await run_in_threadpool(_event_document, record, version, parts.till)
        return _attachment(body, f"order-{order_id}-v{version}.json")

    @router.get("/orders/{order_id}/messages")
    async def compare_messages(
        request: Request, order_id: Annotated[Id, Path()], query: Annotated[MessagesQuery, Query()]
    ) -> Response:
        """Two CREATED or UPDATED of an order side by side; without a choice, the last two."""
        record = await _known(order_id)
        context = await run_in_threadpool(_compared, record, query)
        return pages.page(request, "messages.html", order_id=order_id, currency=parts.till.currency, **context)

    async def _known(order_id: int) -> OrderRecord:
        record = await parts.queries.order(order_id)
        if record is None:
            raise UnknownOrder(order_id)
        return record

    return router


def _event_document(record: OrderRecord, version: int, till: Till) -> bytes:
    """Raises UnknownVersion."""
    events = order_view(record, till)["timeline"]
    event = next((each for each in events if each["version"] == version), None)
    if event is None:
        raise UnknownVersion(record.events[0].order_id, version)
    return event_document(record, event)


def with_items(record: OrderRecord) -> dict[int, MessageEvent]:
    """Events by version whose messages carry items, each message as it came first."""
    return {
        event.originator_version: event
        for event in record.events
        if isinstance(event, MessageEvent) and event.held_version is None and event.message.cashback is not None
    }


def _compared(record: OrderRecord, query: MessagesQuery) -> dict[str, Any]:
    """Raises UnknownVersion."""
    found = with_items(record)
    versions = list(found)
    left, right = query.left or (versions[-2:] or [0])[0], query.right or (versions[-1:] or [0])[0]
    for version in (left, right):
        if version not in found:
            raise UnknownVersion(record.events[0].order_id, version)
    rows = side_by_side(found[left].message, found[right].message)
    return {"choices": found.values(), "left": found[left], "right": found[right], "rows": rows}


def _attachment(body: bytes, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type="application/json", headers=headers)
