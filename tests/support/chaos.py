"""What must become of orders whose messages left in disorder, by rules written down once more."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from sandbox.lifecycles import OrderMessage, outcome

End = tuple[str, Decimal]


def as_published(messages: Iterable[OrderMessage], *, corrections: bool = False) -> dict[int, End]:
    """Where each order ends if the order of publishing is taken for the order of events.

    The first end counts, and of the lists published before it the last one; the CREATED's list comes before all
    others. With corrections a completed order's later messages count as well. A copy says nothing that was not said
    before.
    """
    ends: dict[int, End] = {}
    for history in _told(messages).values():
        heard = [history[1], *(message for message in history.values() if message.kind != "CREATED")]
        in_order = [_at(number, message) for number, message in enumerate(heard)]
        ends |= outcome(in_order, corrections=corrections)
    return ends


def completed_after_cancellation(messages: Iterable[OrderMessage]) -> set[int]:
    """The orders whose first published end is a cancellation, and that are said to be completed after it: what was
    never credited can't be corrected, so that a person decides."""
    found = set()
    for order_id, history in _told(messages).items():
        ends = [message.kind for message in history.values() if message.kind in {"COMPLETED", "CANCELLED"}]
        if ends and ends[0] == "CANCELLED" and "COMPLETED" in ends:
            found.add(order_id)
    return found


def _told(messages: Iterable[OrderMessage]) -> dict[int, dict[int, OrderMessage]]:
    """The orders' messages by their numbers, in the order of publishing, each once."""
    told: dict[int, dict[int, OrderMessage]] = {}
    for message in messages:
        told.setdefault(message.order_id, {}).setdefault(message.sequence, message)
    return told


def _at(number: int, message: OrderMessage) -> OrderMessage:
    return replace(message, at_ns=number)
