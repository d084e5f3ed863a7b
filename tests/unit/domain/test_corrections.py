"""What a message after the end leaves in doubt where the third party takes corrections, and the money at stake."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from domain.decision import Policy
from domain.events import CashbackCorrected, CorrectionNotNeeded, Doubt, MessageEvent
from domain.messages import Message
from tests.support.messages import History, cancelled, completed, created, kinds_of, updated

TOLERANCE_NS = 1000
POLICY = Policy(clock_tolerance_ns=TOLERANCE_NS, corrections=True)
BEYOND_NS = TOLERANCE_NS + 1


def told(*arrivals: Message) -> History:
    return History(*arrivals, policy=POLICY)


def doubts_of(event: MessageEvent) -> tuple[tuple[Doubt, ...], Decimal | None]:
    return event.doubts, event.at_stake


def test_an_update_dated_after_the_end_counts_before_it_without_a_doubt() -> None:
    """Before the end or after it, the amount is the same: there is nothing to look at."""
    history = told(created(), updated(at_ns=5000 + BEYOND_NS, partition=1, cashback="2"), completed(at_ns=5000))
    assert history.outcome == ("COMPLETED", Decimal(2))
    assert history.order.doubts == frozenset()


@pytest.mark.parametrize("distance_ns", [TOLERANCE_NS, BEYOND_NS])
def test_a_cancellation_too_close_to_the_completion_is_doubtful(distance_ns: int) -> None:
    """It takes all of it back; the completion might have come after it."""
    history = told(created(), completed(at_ns=5000, offset=1))
    [event] = history.tell(cancelled(at_ns=5000 + distance_ns, partition=1))
    assert isinstance(event, CashbackCorrected)
    assert event.cashback == 0
    is_doubtful = distance_ns <= TOLERANCE_NS
    assert doubts_of(event) == (((Doubt.UNCERTAIN_ORDER,), Decimal(6)) if is_doubtful else ((), None))


def test_a_cancellation_just_before_the_completion_is_doubtful() -> None:
    """It changes nothing as far as the dates tell; in the other order nothing would be owed."""
    history = told(created(), completed(at_ns=5000, offset=1))
    [event] = history.tell(cancelled(at_ns=4999, partition=1))
    assert isinstance(event, CorrectionNotNeeded)
    assert doubts_of(event) == ((Doubt.UNCERTAIN_ORDER,), Decimal(-6))


@pytest.mark.parametrize(("at_ns", "event_type"), [(5001, CashbackCorrected), (4999, CorrectionNotNeeded)])
@pytest.mark.parametrize("cashback", ["2", "3"])
def test_an_update_too_close_to_one_of_another_amount_is_doubtful(
    at_ns: int, event_type: type[MessageEvent], cashback: str
) -> None:
    """What is at stake is the other one's amount, less the one that counts."""
    history = told(created(), updated(at_ns=5000, offset=1, cashback="2"), completed(at_ns=9000, offset=2))
    [event] = history.tell(updated(at_ns=at_ns, partition=1, cashback=cashback, content="other items"))
    if cashback == "2":
        assert isinstance(event, CorrectionNotNeeded)
        assert doubts_of(event) == ((), None)
    else:
        assert isinstance(event, event_type)
        counts = history.outcome[1]
        assert counts == Decimal(3 if event_type is CashbackCorrected else 2)
        assert doubts_of(event) == ((Doubt.UNCERTAIN_ORDER,), Decimal(5) - 2 * counts)


@pytest.mark.parametrize(
    "message",
    [
        updated(at_ns=9001, partition=1, cashback="3"),
        completed(at_ns=9001, partition=1),
        completed(at_ns=5001, partition=1),
    ],
)
def test_only_ends_of_two_kinds_or_two_updates_can_be_in_the_wrong_order(message: Message) -> None:
    """An update counts after the end as before it, and the second of two equal ends changes nothing."""
    history = told(created(), updated(at_ns=5000, offset=1, cashback="2"), completed(at_ns=9000, offset=2))
    [event] = history.tell(message)
    assert doubts_of(event) == ((), None)


def test_a_cancellation_close_to_an_update_is_certain() -> None:
    """It takes back whatever the update earned."""
    history = told(created(), completed(at_ns=1, offset=1), updated(at_ns=9000, offset=2, cashback="2"))
    [event] = history.tell(cancelled(at_ns=9001, partition=1))
    assert isinstance(event, CashbackCorrected)
    assert doubts_of(event) == ((), None)


@pytest.mark.parametrize(
    ("distance_ns", "doubts"),
    [
        (1, (Doubt.UNCERTAIN_ORDER, Doubt.BUYER_CHANGED)),
        (BEYOND_NS, (Doubt.BUYER_CHANGED,)),
    ],
)
def test_a_second_end_for_another_buyer_is_doubtful(distance_ns: int, doubts: tuple[Doubt, ...]) -> None:
    """The amount is corrected; whose it was isn't clear."""
    history = told(created(), completed(at_ns=5000, offset=1))
    [event] = history.tell(cancelled(at_ns=5000 + distance_ns, partition=1, buyer="9"))
    assert isinstance(event, CashbackCorrected)
    assert doubts_of(event) == (doubts, Decimal(6))


@pytest.mark.parametrize(
    "message",
    [cancelled(at_ns=5001, partition=2, buyer="9"), updated(at_ns=4001, partition=2, cashback="3")],
)
def test_what_changes_nothing_after_a_cancellation_is_no_doubt(message: Message) -> None:
    """Nothing is owed in whatever order it came."""
    history = told(created(), updated(at_ns=4000, offset=1, cashback="2"), cancelled(at_ns=5000, offset=2))
    [event] = history.tell(message)
    assert isinstance(event, CorrectionNotNeeded)
    assert doubts_of(event) == ((), None)


@pytest.mark.parametrize(
    ("late", "name"),
    [
        (updated(at_ns=3, sequence=4, cashback="3"), "cashback-corrected"),
        (updated(at_ns=3, sequence=4), "correction-not-needed"),
        (cancelled(at_ns=3, sequence=4), "cashback-corrected"),
        (completed(at_ns=3, sequence=4), "correction-not-needed"),
    ],
)
def test_a_message_that_waited_is_held_no_longer_once_it_was_corrected(late: Message, name: str) -> None:
    """Its event names the one that held it."""
    history = told(created(sequence=1), late, completed(at_ns=1, sequence=2))
    [_, event] = history.tell(replace(completed(at_ns=2, sequence=3), digest="again", identity="again"))
    assert kinds_of([event]) == [name]
    assert (event.message, event.held_version) == (late, 2)
    assert history.order.held == ()
