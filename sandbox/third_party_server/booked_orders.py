"""The orders of the sandbox third party with their sums, all exact."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import reduce
from typing import Any, Literal, assert_never

from sandbox.third_party_server.requests import CashbackRequest, Operation, parse_instant_ns

Status = Literal["PENDING", "COMPLETED", "CANCELLED"]
STATUSES: tuple[Status, ...] = ("PENDING", "COMPLETED", "CANCELLED")

# A million amounts within the limits of `third_party_requests` can be summed; what doesn't fit is an error.
_exact = Context(prec=400, traps=[Inexact, InvalidOperation])


@dataclass(frozen=True, slots=True)
class BookedOrder:
    """A cancelled order keeps the amount that it had. `credits` counts applied completions; `bookings` are what was
    booked for it: its credit, and with each correction the difference. Their sum is what the buyer has."""

    order_id: int
    status: Status
    amount: Decimal
    buyer_id: str
    store_no: str
    last_transaction_date: str
    last_instant_ns: int
    credits: int = 0
    bookings: tuple[Decimal, ...] = ()

    def answer(self) -> dict[str, Any]:
        """What a lookup says, and every applied call (contract.md, section 2)."""
        return {
            "orderId": self.order_id,
            "status": self.status,
            "cashbackAmount": self.amount,
            "lastTransactionDate": self.last_transaction_date,
        }


def order_after(order: BookedOrder | None, request: CashbackRequest) -> BookedOrder:
    """The order once a legal request is applied; only a create may find no order."""
    date, instant_ns = request.transaction_date, request.instant_ns
    match request.operation:
        case Operation.CREATE | Operation.UPDATE:
            assert request.amount is not None
            assert request.buyer_id is not None
            assert request.store_no is not None
            return BookedOrder(
                request.order_id, "PENDING", request.amount, request.buyer_id, request.store_no, date, instant_ns
            )
        case Operation.CANCEL:
            assert order is not None
            return replace(order, status="CANCELLED", last_transaction_date=date, last_instant_ns=instant_ns)
        case Operation.COMPLETE:
            assert order is not None
            return replace(
                order,
                status="COMPLETED",
                credits=1,
                bookings=(order.amount,),
                last_transaction_date=date,
                last_instant_ns=instant_ns,
            )
        case Operation.CORRECT:
            assert order is not None
            assert request.amount is not None
            return replace(
                order,
                amount=request.amount,
                bookings=(*order.bookings, _exact.subtract(request.amount, order.amount)),
                last_transaction_date=date,
                last_instant_ns=instant_ns,
            )
        case _:
            assert_never(request.operation)


def order_from(answer: dict[str, Any], buyer_id: str, store_no: str, before: BookedOrder | None) -> BookedOrder:
    """The inverse of `BookedOrder.answer`; `before` is the order as it was before that answer."""
    date, amount = answer["lastTransactionDate"], Decimal(answer["cashbackAmount"])
    bookings: tuple[Decimal, ...] = ()
    if answer["status"] == "COMPLETED":
        booked = before.bookings if before is not None else ()
        bookings = (*booked, _exact.subtract(amount, _sum(booked)))
    return BookedOrder(
        order_id=answer["orderId"],
        status=answer["status"],
        amount=amount,
        buyer_id=buyer_id,
        store_no=store_no,
        last_transaction_date=date,
        last_instant_ns=parse_instant_ns(date),
        credits=int(answer["status"] == "COMPLETED"),
        bookings=bookings,
    )


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return reduce(_exact.add, amounts, Decimal(0))


class BookedOrders:
    def __init__(self) -> None:
        self._orders: dict[int, BookedOrder] = {}
        self._ids_in_order: list[int] = []
        self.counts: dict[Status, int] = dict.fromkeys(STATUSES, 0)
        self.amounts: dict[Status, Decimal] = dict.fromkeys(STATUSES, Decimal(0))

    def __len__(self) -> int:
        return len(self._orders)

    def get(self, order_id: int) -> BookedOrder | None:
        return self._orders.get(order_id)

    def put(self, order: BookedOrder) -> None:
        before = self._orders.get(order.order_id)
        if before is not None:
            self.counts[before.status] -= 1
            self.amounts[before.status] = _exact.subtract(self.amounts[before.status], before.amount)
        self.counts[order.status] += 1
        self.amounts[order.status] = _exact.add(self.amounts[order.status], order.amount)
        self._orders[order.order_id] = order

    def in_order(self) -> list[int]:
        """All order ids, ascending; orders never go away, so the list is sorted anew only after new ones came."""
        if len(self._ids_in_order) != len(self._orders):
            self._ids_in_order = sorted(self._orders)
        return self._ids_in_order

    def many(self, order_ids: Iterable[int]) -> list[BookedOrder]:
        return [self._orders[order_id] for order_id in order_ids]
