"""Hold before paying: which orders are doubtful, for the ledger, so that none is completed unseen.

The flag follows from the events, in their order, and is written in the transaction of the calls that follow from
them: whoever finds a `complete` in the ledger finds every doubt that was there when it was decided.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from domain.events import DoubtSettled, EventLost, MessageEvent
from domain.order import fold
from projections.feed import Recorded
from projections.intended_calls import IntendedCall, intended_calls

DOUBTFUL: Final = "doubtful"
"""The reason for which an order is parked whose `complete` waits until a person has settled the doubt."""


@dataclass(frozen=True, slots=True)
class DoubtMark:
    """An order is doubtful from now on, or not any more."""

    order_id: int
    is_doubtful: bool


@dataclass(frozen=True, slots=True)
class BrokenStream:
    """An order's stream lacks an event: the order stands still until a person has repaired it."""

    order_id: int


LedgerRow = DoubtMark | IntendedCall | BrokenStream


def ledger_rows(recorded: Sequence[Recorded]) -> list[LedgerRow]:
    """What the projection that feeds delivery writes."""
    broken = [BrokenStream(order_id) for order_id in sorted({e.event.order_id for e in recorded if e.is_broken})]
    return [*doubt_marks(recorded), *intended_calls(recorded), *broken]


def doubt_marks(recorded: Iterable[Recorded]) -> list[DoubtMark]:
    """The last word of the events on each order that they bring into doubt, or settle."""
    marks: dict[int, bool] = {}
    for each in recorded:
        match each.event:
            case EventLost():
                marks[each.event.order_id] = True
            case MessageEvent(doubts=doubts) if doubts:
                marks[each.event.order_id] = True
            case DoubtSettled():
                marks[each.event.order_id] = False
            case _:
                pass
    return [DoubtMark(order_id, is_doubtful) for order_id, is_doubtful in marks.items()]


def is_rightly_marked(stream: Sequence[Recorded], *, is_doubtful: bool, position: int) -> bool:
    """Compares an order's flag in the ledger with its whole stream. The flag may be ahead of the position."""
    reached = sum(each.notification_id <= position for each in stream)
    orders = (fold(None, [each.event for each in stream[:upto]]) for upto in range(reached, len(stream) + 1))
    return any(is_doubtful == bool(order and order.doubts) for order in orders)
