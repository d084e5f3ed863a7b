"""Overview, the list of orders, and the page of one."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from adapters.presentation.order_texts import event_texts
from adapters.presentation.order_view import order_view
from adapters.presentation.overview import overview
from adapters.presentation.schemas import OrderView
from adapters.presentation.standing import standing_of
from adapters.presentation.verdict import verdict
from adapters.records.errors import UnknownOrder
from adapters.records.orders import OrderFilter, OrderRecord
from adapters.records.status import KEPT_SECONDS
from adapters.web.console.dependencies import ConsoleParts
from adapters.web.console.order_record import with_items
from adapters.web.console.pages import Pages
from adapters.web.console.parameters import OrderQuery, OrdersListQuery
from adapters.web.console.timeline import timeline
from adapters.web.parameters import Id
from domain.identifiers import MAX_ORDER_ID
from domain.lifecycle import Status
from domain.money import Till
from domain.order import fold

PAGE_ROWS: Final = 50
MAX_ACTIONS_SHOWN: Final = 20


def orders_router(parts: ConsoleParts, pages: Pages) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    async def show_overview(request: Request) -> Response:
        samples = await parts.console.samples(KEPT_SECONDS)
        processes = await parts.console.processes()
        shown = overview(samples, processes, datetime.now(UTC))
        return pages.page(request, "overview.html", overview=shown, about_orders=await parts.console.about_orders())

    @router.get("/orders")
    async def list_orders(request: Request, query: Annotated[OrdersListQuery, Query()]) -> Response:
        flags = (flag or None for flag in (query.doubtful, query.held, query.mismatch))
        wanted = OrderFilter(query.status, query.buyer or None, *flags)
        upwards = query.above is not None
        start = query.above if upwards else query.below
        rows = await parts.console.orders(
            wanted, parked=query.parked, start=start, upwards=upwards, limit=PAGE_ROWS + 1
        )
        is_more, rows = len(rows) > PAGE_ROWS, rows[:PAGE_ROWS]
        if upwards:
            rows = rows[::-1]
        newer, older = (is_more, True) if upwards else (start is not None, is_more)
        greatest, smallest = (rows[0].row.order_id, rows[-1].row.order_id) if rows else (0, 0)
        return pages.page(
            request,
            "orders.html",
            query=query,
            statuses=list(Status),
            orders=rows,
            newer=_address(query, above=greatest + 1) if newer and 0 < greatest < MAX_ORDER_ID else None,
            older=_address(query, below=smallest - 1) if older and smallest > 1 else None,
        )

    @router.get("/orders/{order_id}")
    async def show_order(
        request: Request, order_id: Annotated[Id, Path()], query: Annotated[OrderQuery, Query()]
    ) -> Response:
        record = await parts.queries.order(order_id)
        if record is None:
            raise UnknownOrder(order_id)
        actions = await parts.actions.page(order_id, None, MAX_ACTIONS_SHOWN)
        context = await run_in_threadpool(_order_context, record, parts.till)
        may_compare = parts.may_compare
        return pages.page(
            request, "order.html", done=query.done, actions=actions, may_compare=may_compare, **context
        )

    return router


def _order_context(record: OrderRecord, till: Till) -> dict[str, Any]:
    order = order_view(record, till)
    folded = fold(None, record.events)
    assert folded is not None, "the record has at least one event"
    return {
        "order": order,
        "verdict": verdict(standing_of(folded, record), till),
        "texts": event_texts(record, [event["version"] for event in order["timeline"]]),
        "till": till,
        "picture": timeline(order["timeline"]),
        "items": [_item(each, till) for each in order["items"]],
        "steps": _steps(order),
        "has_two_messages": len(with_items(record)) > 1,
    }


def _item(item: dict[str, Any], till: Till) -> dict[str, Any]:
    """A number may have come in quotes."""
    numbers = {name: Decimal(item[name]) for name in ("originalPrice", "quantity", "finalTotalPrice")}
    return item | numbers | {"cashback": till.item_cashback(*numbers.values())}


_STEPS: Final = {"cashback-created", "cashback-updated", "cashback-completed", "cashback-cancelled"}


def _steps(order: OrderView) -> dict[str, int]:
    """How often the order went along each edge of the state machine."""
    steps = {"CREATED": 0, "UPDATED": 0, "COMPLETED": 0, "CANCELLED": 0, "held": 0}
    for event in order["timeline"]:
        if event["message"] is not None and event["event"] in _STEPS:
            steps[event["message"]["type"]] += 1
        elif event["decision"] == "held":
            steps["held"] += 1
    return steps


def _address(query: OrdersListQuery, **place: int) -> str:
    kept = query.model_dump(exclude={"below", "above"}, exclude_defaults=True)
    said = {name: str(int(value)) if isinstance(value, bool) else value for name, value in kept.items()}
    return "/orders?" + urlencode(said | place)
