"""What a person decides about an order, as events of its stream, so that a rebuild knows it.

Pure, like `decision.py`: who asks, why and when arrive as arguments.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from domain.decision import DEFAULT_POLICY, Decision, Policy
from domain.errors import CashbackError
from domain.events import CreateGivenUp, DoubtSettled, EventLost, GapAccepted, OperatorEvent, OrderEvent, WaitsFor
from domain.order import NotCreated, Order, evolve

Numbers = tuple[int, int]
"""Of the publisher's sequence: the first and the last."""
NUMBERS_PATTERN: Final = r"[1-9][0-9]{0,17}(-[1-9][0-9]{0,17})?"


@dataclass(frozen=True, slots=True)
class Author:
    """Who decides, and why."""

    name: str
    reason: str


class BadNumbers(CashbackError, ValueError):
    """A text names no numbers."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:50]!r} are no numbers: `4` or `4-6`")


class NothingToSettle(CashbackError):
    """The order has no open doubt."""

    def __init__(self, order_id: int) -> None:
        super().__init__(f"order {order_id} has no open doubt")
        self.order_id = order_id


class NothingToRelease(CashbackError):
    """No message of the order waits for what a person could give up."""

    def __init__(self, order_id: int) -> None:
        super().__init__(f"no message of order {order_id} is held")
        self.order_id = order_id


class NothingToRepair(CashbackError):
    """The order's stream lacks nothing."""

    def __init__(self, order_id: int) -> None:
        super().__init__(f"the stream of order {order_id} lacks no event")
        self.order_id = order_id


class NumbersNotMissing(CashbackError):
    """Numbers that a person wants to give up have come, or nothing waits for them."""

    def __init__(self, order_id: int, missing: str) -> None:
        hint = f"; missing are {missing}" if missing else "; no number is missing"
        super().__init__(f"order {order_id} doesn't wait for these numbers{hint}")
        self.order_id = order_id
        self.missing = missing


def settle(order: Order, author: Author, *, now_ns: int) -> tuple[OrderEvent, ...]:
    """All open doubts are settled: what stands, counts. Raises NothingToSettle."""
    if not order.open_doubts:
        raise NothingToSettle(order.order_id)
    return (
        DoubtSettled(
            originator_id=order.id,
            originator_version=order.version + 1,
            recorded_at_ns=now_ns,
            decided_by=author.name,
            reason=author.reason,
            settled=tuple([(each.doubt, each.version) for each in order.open_doubts]),
        ),
    )


def release(
    order: Order,
    author: Author,
    *,
    now_ns: int,
    numbers: Numbers | None = None,
    policy: Policy = DEFAULT_POLICY,
) -> tuple[OrderEvent, ...]:
    """What held messages wait for will never come: they have their turn, or are closed unpaid.

    Without `numbers` (first and last) every missing number before the last held one is given up, and the CREATED if
    it is missing after that. With them, those only. Raises NothingToRelease or NumbersNotMissing.
    """
    if not order.waiting:
        raise NothingToRelease(order.order_id)
    gaps = missing_numbers(order)
    if numbers is not None:
        if not any(first <= numbers[0] <= numbers[1] <= last for first, last in gaps):
            raise NumbersNotMissing(order.order_id, ", ".join(map(format_numbers, gaps)))
        gaps = [numbers]
    events: list[OrderEvent] = []
    for first, last in gaps:
        events.append(
            GapAccepted(
                originator_id=order.id,
                originator_version=order.version + 1,
                recorded_at_ns=now_ns,
                decided_by=author.name,
                reason=author.reason,
                first=first,
                last=last,
            )
        )
        order = evolve(order, events[-1])
    decision = Decision(order, now_ns, policy)
    decision.release()
    order = decision.order
    events += decision.events
    if numbers is None and order.waiting and isinstance(order.stage, NotCreated):
        given_up: OperatorEvent = CreateGivenUp(
            originator_id=order.id,
            originator_version=order.version + 1,
            recorded_at_ns=now_ns,
            decided_by=author.name,
            reason=author.reason,
        )
        events.append(given_up)
    return tuple(events)


def repair(order: Order, author: Author, *, now_ns: int) -> tuple[OrderEvent, ...]:
    """The events that the order's stream lacks are lost: what is behind them counts again, with a doubt.

    Raises NothingToRepair.
    """
    if not order.missing:
        raise NothingToRepair(order.order_id)
    return tuple(
        [
            EventLost(
                originator_id=order.id,
                originator_version=version,
                recorded_at_ns=now_ns,
                decided_by=author.name,
                reason=author.reason,
            )
            for first, last in order.missing
            for version in range(first, last + 1)
        ]
    )


def missing_numbers(order: Order) -> list[Numbers]:
    """The numbers, first and last, that held messages wait for."""
    held = sorted(
        each.message.sequence
        for each in order.held
        if each.waits_for is WaitsFor.SEQUENCE and each.message.sequence is not None
    )
    gaps: list[Numbers] = []
    next_number = order.last_sequence + 1
    for number in held:
        gaps += _not_given_up(next_number, number - 1, order.accepted_gaps)
        next_number = number + 1
    return gaps


def _not_given_up(first: int, last: int, given_up: Iterable[Numbers]) -> list[Numbers]:
    """What is left of a range of numbers."""
    left: list[Numbers] = []
    for gone_first, gone_last in sorted(given_up):
        if gone_first > last:
            break
        if first < gone_first:
            left.append((first, gone_first - 1))
        first = max(first, gone_last + 1)
    return [*left, (first, last)] if first <= last else left


def format_numbers(numbers: Numbers) -> str:
    """`4` or `4-6`."""
    first, last = numbers
    return str(first) if first == last else f"{first}-{last}"


def parse_numbers(text: str) -> Numbers:
    """The inverse of `format_numbers`. Raises BadNumbers; that the first one comes first is left to `release`."""
    if re.fullmatch(NUMBERS_PATTERN, text) is None:
        raise BadNumbers(text)
    return int(text.partition("-")[0]), int(text.rpartition("-")[2])
