"""The operators' read model: one row an order, made from the folded stream alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from domain.events import EventLost
from domain.lifecycle import Status
from domain.money import ZERO, total
from domain.order import Order, fold
from projections.feed import Recorded

NAME: Final = "orders"


@dataclass(frozen=True, slots=True)
class OrderRow:
    """What is shown of an order in lists. Times are nanoseconds since 1970, UTC."""

    order_id: int
    version: int
    status: Status
    buyer_id: str | None
    store_no: str | None
    cashback: Decimal | None
    """What the order earns, or has earned; None before it is created."""
    held: int
    rejected: int
    superseded: int
    doubts: tuple[str, ...]
    held_since_ns: int | None
    recorded_at_ns: int
    held_cashback: Decimal | None
    """What the order would earn by the last message that waits and tells it."""
    at_stake: Decimal | None
    """The money in the open doubts; None without one."""
    doubtful_since_ns: int | None
    """The oldest open doubt."""
    began_at_ns: int | None
    """When the first event was recorded; None in a row of an earlier release that hasn't been made anew yet."""


def row_of(order: Order) -> OrderRow:
    terms = order.terms
    return OrderRow(
        order_id=order.order_id,
        version=order.version,
        status=order.status,
        buyer_id=terms.buyer_id if terms else None,
        store_no=terms.store_no if terms else None,
        cashback=terms.cashback if terms else None,
        held=len(order.waiting),
        rejected=order.rejected,
        superseded=order.superseded,
        doubts=tuple(sorted(order.doubts)),
        held_since_ns=min((held.since_ns for held in order.waiting), default=None),
        recorded_at_ns=order.recorded_at_ns,
        held_cashback=_held_cashback(order),
        at_stake=_at_stake(order),
        doubtful_since_ns=min((each.since_ns for each in order.open_doubts), default=None),
        began_at_ns=order.began_at_ns,
    )


def _held_cashback(order: Order) -> Decimal | None:
    amounts = [held.message.cashback for held in order.waiting if held.message.cashback is not None]
    return amounts[-1] if amounts else None


def _at_stake(order: Order) -> Decimal | None:
    """The sum over the events that raised doubts. One that names no amount is about all that the order earns."""
    if not order.open_doubts:
        return None
    amounts = {each.version: each.at_stake for each in order.open_doubts}
    known = total(amount.copy_abs() for amount in amounts.values() if amount is not None)
    earned = order.terms.cashback if order.terms and None in amounts.values() else ZERO
    return max(known, earned)


class OrderRows:
    """From events to rows. Loads the orders that it meets in the middle of their streams."""

    def __init__(self, load: Callable[[Iterable[int]], Mapping[int, Order]]) -> None:
        self._load = load

    def __call__(self, recorded: Sequence[Recorded]) -> list[OrderRow]:
        """One row for each order that the events are about, as it is after the last of them (or later)."""
        orders: dict[int, Order] = {}
        behind: set[int] = set()
        for each in recorded:
            order_id = each.event.order_id
            order = orders.get(order_id) or Order(order_id)
            is_next = each.event.originator_version == order.version + 1
            if is_next and not isinstance(each.event, EventLost):  # which stands before others
                orders[order_id] = fold(order, [each.event]) or order
            else:
                behind.add(order_id)
        loaded = self._load(sorted(behind)) if behind else {}
        return [row_of(order) for order in ({**orders, **loaded}).values()]
