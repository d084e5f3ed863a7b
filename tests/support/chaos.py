"""What must become of orders whose messages left in disorder, by rules written down once more."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from sandbox.order_service.lifecycles import OrderMessage, outcome

End = tuple[str, Decimal]


def as_published(messages: Iterable[OrderMessage], *, corrections: bool = False) -> dict[int, End]:
    """Where each order ends if the order of publishing is taken for the order of events.

    The first end counts, and of the lists published before it the last one; the CREATED's list comes before all
    others. With corrections a completed order's later messages count as well. A copy says nothing that was not said
    before.
    """
    ends: dict[int, End] = {}
    for history in _heard(messages).values():
        in_order = [_at(number, message) for number, message in enumerate(history)]
        ends |= outcome(in_order, corrections=corrections)
    return ends


def completed_after_cancellation(messages: Iterable[OrderMessage]) -> set[int]:
    """The orders whose first published end is a cancellation, and that are owed something by what is published
    after it: what was never credited can't be corrected, so that a person decides."""
    found = set()
    for order_id, history in _heard(messages).items():
        amount, ends = Decimal(0), list[str]()
        for message in history:
            if message.kind in {"COMPLETED", "CANCELLED"}:
                ends.append(message.kind)
            else:
                [(_, amount)] = outcome([message]).values()
            if amount and ends[:1] == ["CANCELLED"] and ends[-1] == "COMPLETED":
                found.add(order_id)
    return found


def _heard(messages: Iterable[OrderMessage]) -> dict[int, list[OrderMessage]]:
    """Each order's messages in the order of publishing, each once, the CREATED before all others."""
    told: dict[int, dict[int, OrderMessage]] = {}
    for message in messages:
        told.setdefault(message.order_id, {}).setdefault(message.sequence, message)
    return {
        order_id: [history[1], *(message for number, message in history.items() if number > 1)]
        for order_id, history in told.items()
    }


def _at(number: int, message: OrderMessage) -> OrderMessage:
    return replace(message, at_ns=number)
