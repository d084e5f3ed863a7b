"""What the sandbox third party shows of its books under `/_sandbox` (contract.md, section 4)."""

from bisect import bisect_right
from itertools import islice
from typing import Any

import msgspec

from domain.instants import format_instant
from sandbox.third_party_server.booked_orders import STATUSES, BookedOrder
from sandbox.third_party_server.books import Books
from sandbox.third_party_server.call_log import ReceivedCall

MAX_PAGE_ROWS = 100_000
MAX_PAGE_BODY_BYTES = 64 * 1024**2


def totals(books: Books) -> dict[str, Any]:
    """Kept up to date with every call, so that asking costs nothing. `calls` counts finished calls that change
    something, lookups not among them."""
    orders = books.orders
    return {
        "byStatus": {status: orders.counts[status] for status in STATUSES},
        "creditedAmount": orders.amounts["COMPLETED"],
        "pendingAmount": orders.amounts["PENDING"],
        "orders": len(orders),
        "calls": books.mutating_calls,
        "violations": books.violation_count,
    }


def orders_page(books: Books, after: int, limit: int) -> dict[str, Any]:
    """Orders with a higher id, ascending; `next` is the `after` of the next page, or null."""
    order_ids = books.orders.in_order()
    start = bisect_right(order_ids, after)
    page = order_ids[start : start + limit]
    more = start + limit < len(order_ids)
    return {
        "orders": [_order_row(books, order) for order in books.orders.many(page)],
        "next": page[-1] if more and page else None,
        "totals": totals(books),
    }


def calls_page(books: Books, order_id: int | None, after: int, limit: int) -> dict[str, Any]:
    """Calls with a higher number, in order of arrival; `dropped` of the oldest are no longer kept.

    A page ends early beyond MAX_PAGE_BODY_BYTES; `next` is the `after` of the next page, or null.
    """
    rows: list[dict[str, Any]] = []
    body_bytes, following = 0, None
    for call in islice(books.log.after(after, order_id), limit + 1):
        if len(rows) == limit or (rows and body_bytes + len(call.body) > MAX_PAGE_BODY_BYTES):
            following = rows[-1]["number"]
            break
        body_bytes += len(call.body)
        rows.append(_call_row(call))
    return {"calls": rows, "next": following, "dropped": books.log.dropped}


def violations_list(books: Books) -> dict[str, Any]:
    """`count` counts all of them, also those that are too old to be kept."""
    rows = [
        {
            "kind": violation.kind,
            "orderId": violation.order_id,
            "detail": violation.detail,
            "time": format_instant(violation.time_ns),
            "call": violation.call_number,
        }
        for violation in books.violations
    ]
    return {"violations": rows, "count": books.violation_count}


def _order_row(books: Books, order: BookedOrder) -> dict[str, Any]:
    """A corrected order is shown with what was booked for it, the credit first."""
    return {
        **order.answer(),
        "buyerId": order.buyer_id,
        "storeNo": order.store_no,
        "calls": books.calls_by_order.get(order.order_id, 0),
        "credits": order.credits,
        **({"bookings": order.bookings} if len(order.bookings) > 1 else {}),
    }


def _call_row(call: ReceivedCall) -> dict[str, Any]:
    return {
        "number": call.number,
        "time": format_instant(call.started_ns),
        "endTime": format_instant(call.ended_ns) if call.ended_ns is not None else None,
        "method": call.method,
        "path": call.path,
        "orderId": call.order_id,
        "key": call.key,
        "outcome": call.outcome,
        "status": call.status,
        "applied": call.applied,
        "hit": call.hit,
        "transactionDate": call.transaction_date,
        "headers": dict(call.headers),
        "body": _shown(call.body),
    }


def _shown(body: bytes) -> Any:
    """The body as the JSON that it is, digit for digit; as text where it isn't JSON; null where there is none."""
    if not body:
        return None
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
        body.decode()
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
    return msgspec.Raw(body)
