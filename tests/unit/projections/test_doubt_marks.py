"""Which orders are doubtful, for the ledger, by their events alone."""

from collections.abc import Sequence

from domain.events import OrderEvent
from domain.intervention import Author, settle
from domain.messages import Kind
from domain.order import fold
from projections.doubt_marks import DoubtMark, doubt_marks, is_rightly_marked, ledger_rows
from projections.feed import Recorded
from projections.intended_calls import IntendedCall
from tests.support.decoding import read
from tests.support.messages import NOW_NS, ORDER_ID, History, completed, created, product, record_of, updated

LATER_NS = 3_600 * 10**9


def doubtful() -> History:
    """An update that was refused because it came after the end."""
    return History(
        read(record_of(Kind.CREATED)),
        read(record_of(Kind.COMPLETED, at_ns=LATER_NS, offset=1)),
        read(record_of(Kind.UPDATED, at_ns=1, offset=2, partition=1, items=[product(final=300)])),
    )


def settled(history: History) -> list[OrderEvent]:
    return [*history.events, *settle(history.order, Author("Jürgen", "looked at"), now_ns=NOW_NS)]


def recorded(events: Sequence[OrderEvent]) -> list[Recorded]:
    return [Recorded(number, event) for number, event in enumerate(events, 1)]


def test_an_order_without_a_doubt_is_not_marked() -> None:
    """There is nothing to be written."""
    assert doubt_marks(recorded(History(created(), completed(at_ns=1, offset=1)).events)) == []


def test_a_doubt_marks_its_order_and_its_end_takes_the_mark_away() -> None:
    """The last word counts, in one batch as in several."""
    events = settled(doubtful())
    assert doubt_marks(recorded(events[:-1])) == [DoubtMark(ORDER_ID, is_doubtful=True)]
    assert doubt_marks(recorded(events[-1:])) == [DoubtMark(ORDER_ID, is_doubtful=False)]
    assert doubt_marks(recorded(events)) == [DoubtMark(ORDER_ID, is_doubtful=False)]


def test_a_doubt_that_comes_after_one_was_settled_marks_the_order_again() -> None:
    """It is another one."""
    first = doubtful()
    events = settled(first)
    order = fold(first.order, events[len(first.events) :])
    again = History()
    again.order = order or again.order
    more = again.tell(updated(at_ns=2, offset=3, partition=1, cashback="20"))
    assert doubt_marks(recorded([*events, *more])) == [DoubtMark(ORDER_ID, is_doubtful=True)]


def test_the_ledger_gets_marks_beside_the_calls() -> None:
    """What is decided by a person alone asks for no call."""
    rows = ledger_rows(recorded(settled(doubtful())))
    assert [row.effect.kind for row in rows if isinstance(row, IntendedCall)] == ["create", "complete"]
    assert [row for row in rows if isinstance(row, DoubtMark)] == [DoubtMark(ORDER_ID, is_doubtful=False)]


def test_a_mark_may_be_ahead_of_the_place_up_to_which_it_was_written_but_not_behind() -> None:
    """Events that the projection hasn't read needn't count yet."""
    stream = recorded(settled(doubtful()))
    end = len(stream)
    assert [is_rightly_marked(stream, is_doubtful=False, position=place) for place in (end - 2, end - 1, end)] == [
        True,
        True,
        True,
    ]
    assert is_rightly_marked(stream, is_doubtful=True, position=end - 1)
    assert not is_rightly_marked(stream, is_doubtful=True, position=end)
    assert not is_rightly_marked(stream[:-1], is_doubtful=False, position=end - 1)
