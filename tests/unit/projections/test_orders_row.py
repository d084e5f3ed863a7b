"""The operators' read model: what a row says of an order's doubts, of what waits, and of its age."""

from decimal import Decimal

from msgspec.structs import replace

from domain.events import OrderEvent
from domain.intervention import Author, release, settle
from domain.order import fold
from projections.orders import row_of
from tests.support.messages import NOW_NS, SECOND_NS, History, completed, created, updated

SOMEBODY = Author("Ada", "asked the order service")


def later(events: tuple[OrderEvent, ...], by_ns: int) -> list[OrderEvent]:
    return [replace(event, recorded_at_ns=event.recorded_at_ns + by_ns) for event in events]


def late(cashback: str, offset: int) -> History:
    """An order that ended at 6, and an update from before its end, with another amount, that came after it."""
    return History(
        created(cashback="6"),
        completed(at_ns=120 * SECOND_NS, offset=offset - 1),
        updated(at_ns=SECOND_NS, partition=1, offset=offset, cashback=cashback),
    )


def test_an_order_without_a_doubt_has_nothing_at_stake() -> None:
    """It has begun, and that is all."""
    row = row_of(History(created()).order)
    assert (row.at_stake, row.doubtful_since_ns, row.began_at_ns) == (None, None, NOW_NS)


def test_what_is_at_stake_counts_whichever_way_it_goes() -> None:
    """Too much was paid, or too little: what a person must look at is how much."""
    assert row_of(late("2", offset=5).order).at_stake == Decimal(4)
    assert row_of(late("50", offset=5).order).at_stake == Decimal(44)


def test_several_doubts_add_up_and_the_oldest_tells_the_age() -> None:
    """Each event's money once, however many doubts it raised."""
    history = late("2", offset=5)
    event = History.tell(late("2", offset=5), updated(at_ns=2 * SECOND_NS, partition=1, offset=6, cashback="1"))
    order = fold(history.order, later(event, SECOND_NS))
    assert order is not None
    row = row_of(order)
    assert len(order.open_doubts) == 2
    assert (row.at_stake, row.doubtful_since_ns) == (Decimal(4 + 5), NOW_NS)

    doubled = replace(order, open_doubts=(*order.open_doubts, order.open_doubts[0]))
    assert row_of(doubled).at_stake == row.at_stake


def test_a_doubt_that_names_no_amount_is_about_all_that_the_order_earns() -> None:
    """Such as those in streams of a time when doubts named none."""
    history = late("2", offset=5)
    unnamed = replace(
        history.order, open_doubts=tuple([replace(each, at_stake=None) for each in history.order.open_doubts])
    )
    assert row_of(unnamed).at_stake == Decimal(6)


def test_exact_to_the_last_digit() -> None:
    """Whatever the context of decimals rounds to."""
    huge = "12345678901234567890123456789012.34"
    assert row_of(late(huge, offset=5).order).at_stake == Decimal(huge) - 6


def test_a_settled_order_has_nothing_at_stake_and_a_new_doubt_has() -> None:
    """The age is that of the new one."""
    history = late("2", offset=5)
    settled = fold(history.order, settle(history.order, SOMEBODY, now_ns=NOW_NS + 1))
    assert settled is not None
    row = row_of(settled)
    assert (row.doubts, row.at_stake, row.doubtful_since_ns) == ((), None, None)

    history.order = settled
    history.tell(updated(at_ns=2 * SECOND_NS, partition=1, offset=6, cashback="1"))
    again = row_of(history.order)
    assert (again.doubts, again.at_stake, again.doubtful_since_ns) == (("late",), Decimal(5), NOW_NS)


def test_what_a_person_has_closed_is_not_held_any_more() -> None:
    """It is still there, should the CREATED come after all."""
    history = History(updated())
    assert row_of(history.order).held == 1
    closed = fold(history.order, release(history.order, SOMEBODY, now_ns=NOW_NS + 1))
    assert closed is not None
    row = row_of(closed)
    assert (row.held, row.held_since_ns, row.began_at_ns, len(closed.held)) == (0, None, NOW_NS, 1)


def test_what_waits_tells_what_the_order_would_earn() -> None:
    """By the last message that tells it; an end tells nothing, and what is closed or has had its turn neither."""
    history = History(
        updated(cashback="20"),
        updated(at_ns=SECOND_NS, offset=1, cashback="30"),
        completed(at_ns=120 * SECOND_NS, offset=2),
    )
    row = row_of(history.order)
    assert (row.cashback, row.held_cashback) == (None, Decimal(30))
    closed = fold(history.order, release(history.order, SOMEBODY, now_ns=NOW_NS + 1))
    assert closed is not None
    assert row_of(closed).held_cashback is None
    history.tell(created(at_ns=-SECOND_NS, offset=3, partition=1))
    row = row_of(history.order)
    assert (row.cashback, row.held_cashback) == (Decimal(30), None)
