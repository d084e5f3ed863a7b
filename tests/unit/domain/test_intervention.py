"""What a person decides about an order: doubts settled, and what will never come given up."""

from decimal import Decimal
from itertools import permutations
from typing import TYPE_CHECKING, cast

import pytest
from msgspec.structs import replace

from domain.decision import Policy
from domain.decision import decide as domain_decide
from domain.events import (
    CreateGivenUp,
    Doubt,
    DoubtSettled,
    GapAccepted,
    MessageRejected,
    OperatorEvent,
    OrderEvent,
    Refusal,
)
from domain.intervention import (
    Author,
    BadNumbers,
    NothingToRelease,
    NothingToRepair,
    NothingToSettle,
    Numbers,
    NumbersNotMissing,
    format_numbers,
    missing_numbers,
    parse_numbers,
    release,
    repair,
    settle,
)
from domain.lifecycle import Status
from domain.money import ZERO
from domain.order import Order, fold
from tests.support.messages import NOW_NS, ORDER_ID, History, cancelled, completed, created, kinds_of, updated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.events import MessageEvent

JANE = Author("Jane", "asked them")
LATER_NS = 3_600 * 10**9


def decide(history: History, *events: OrderEvent) -> History:
    """The same order after a person's decision."""
    history.order = fold(history.order, events) or history.order
    history.events += cast("Sequence[MessageEvent]", events)  # those of people stand among them
    return history


def settled(history: History) -> History:
    return decide(history, *settle(history.order, JANE, now_ns=NOW_NS))


def released(history: History, numbers: Numbers | None = None, policy: Policy | None = None) -> History:
    return decide(history, *release(history.order, JANE, now_ns=NOW_NS, numbers=numbers, policy=policy or Policy()))


def twice_created() -> History:
    return History(created(), created(at_ns=1, offset=1, cashback="12"))


def with_gaps() -> History:
    """The numbers 2, 3 and 6 are missing."""
    return History(
        created(sequence=1),
        updated(at_ns=4, offset=1, sequence=4, cashback="4"),
        updated(at_ns=5, offset=2, sequence=5, cashback="5"),
        completed(at_ns=7, offset=3, sequence=7),
    )


class TestSettling:
    def test_it_ends_every_open_doubt_and_changes_nothing_else(self) -> None:
        """Each by the event that raised it; with who, why and when."""
        history = twice_created()
        history.tell(created(at_ns=2, offset=2, cashback="20"))
        before = history.order
        [event] = settle(before, JANE, now_ns=NOW_NS)
        assert isinstance(event, DoubtSettled)
        assert event.settled == ((Doubt.CREATED_TWICE, 2), (Doubt.CREATED_TWICE, 3))
        assert (event.decided_by, event.reason, event.recorded_at_ns) == ("Jane", "asked them", NOW_NS)
        assert (event.order_id, event.originator_version) == (ORDER_ID, before.version + 1)
        after = decide(history, replace(event, recorded_at_ns=LATER_NS)).order
        assert after.recorded_at_ns == LATER_NS
        assert after.doubts == frozenset()
        assert (after.stage, after.seen_messages, after.held) == (before.stage, before.seen_messages, before.held)

    def test_a_later_doubt_opens_the_order_again(self) -> None:
        """And only that one is settled then."""
        history = settled(twice_created())
        history.tell(created(at_ns=2, offset=2, cashback="20"))
        assert history.order.doubts == {Doubt.CREATED_TWICE}
        [event] = settle(history.order, JANE, now_ns=NOW_NS)
        assert isinstance(event, DoubtSettled)
        assert event.settled == ((Doubt.CREATED_TWICE, 4),)

    def test_the_same_message_again_raises_no_doubt_again(self) -> None:
        """It is a repeat, as before."""
        history = settled(twice_created())
        history.tell(created(at_ns=1, offset=5, cashback="12"))
        assert history.order.doubts == frozenset()

    def test_without_a_doubt_there_is_nothing_to_settle(self) -> None:
        """Nor twice."""
        for history in (History(created()), settled(twice_created())):
            with pytest.raises(NothingToSettle, match=f"order {ORDER_ID} has no open doubt"):
                settle(history.order, JANE, now_ns=NOW_NS)


class TestReleasing:
    def test_without_numbers_every_missing_one_is_given_up(self) -> None:
        """What waited has its turn in the order of the numbers."""
        history = released(with_gaps())
        assert kinds_of(history.events[4:]) == [
            "gap-accepted",
            "gap-accepted",
            "cashback-updated",
            "cashback-updated",
            "cashback-completed",
        ]
        gaps = [(each.first, each.last) for each in history.events if isinstance(each, GapAccepted)]
        assert gaps == [(2, 3), (6, 6)]
        assert history.outcome == (Status.COMPLETED, Decimal(5))
        assert history.order.waiting == ()
        assert [each.originator_version for each in history.events] == list(range(1, 10))

    def test_each_event_says_who_decided_why_and_when(self) -> None:
        """In the order's stream; what is decided about messages in its course has the same time."""
        history = History(updated(at_ns=2, sequence=2))
        events = release(history.order, JANE, now_ns=LATER_NS)
        assert kinds_of(events) == ["gap-accepted", "message-held", "create-given-up"]
        decisions = [event for event in events if isinstance(event, OperatorEvent)]
        assert [(each.decided_by, each.reason) for each in decisions] == [("Jane", "asked them")] * 2
        assert {(each.order_id, each.recorded_at_ns) for each in events} == {(ORDER_ID, LATER_NS)}
        assert [each.originator_version for each in events] == [2, 3, 4]
        assert decide(history, *events).order.recorded_at_ns == LATER_NS

    def test_with_numbers_the_order_goes_on_as_far_as_it_may(self) -> None:
        """A part of a gap is not enough; the rest of it is."""
        history = released(with_gaps(), (3, 3))
        assert (len(history.order.waiting), missing_numbers(history.order)) == (3, [(2, 2), (6, 6)])
        released(history, (2, 2))
        assert history.outcome == (Status.PENDING, Decimal(5))
        assert missing_numbers(history.order) == [(6, 6)]
        history.tell(updated(at_ns=6, offset=9, sequence=6, cashback="6"))
        assert history.outcome == (Status.COMPLETED, Decimal(6))

    @pytest.mark.parametrize("numbers", [(1, 2), (2, 4), (3, 6), (4, 4), (7, 7), (8, 9), (2, 6), (3, 2)])
    def test_numbers_that_have_come_or_that_nobody_waits_for_are_refused(self, numbers: Numbers) -> None:
        """And those that are missing are named."""
        with pytest.raises(NumbersNotMissing, match="missing are 2-3, 6"):
            released(with_gaps(), numbers)

    def test_numbers_in_the_middle_may_be_given_up_in_any_order(self) -> None:
        """What is left is waited for, before them and after them."""
        history = History(created(sequence=1), updated(at_ns=3, sequence=3), completed(at_ns=9, sequence=9))
        for numbers, missing in (
            ((6, 7), [(2, 2), (4, 5), (8, 8)]),
            ((4, 4), [(2, 2), (5, 5), (8, 8)]),
            ((8, 8), [(2, 2), (5, 5)]),
        ):
            released(history, numbers)
            assert missing_numbers(history.order) == missing

    def test_a_number_that_was_refused_before_its_created_is_not_missing(self) -> None:
        """What waits for the created has had its number's turn."""
        history = History(
            updated(at_ns=1, sequence=1),
            updated(at_ns=2, sequence=2, negative=True),
            updated(at_ns=3, sequence=3),
            completed(at_ns=5, sequence=5),
        )
        assert missing_numbers(history.order) == [(4, 4)]

    def test_numbers_that_were_given_up_are_not_missing_any_more(self) -> None:
        """Nobody gives them up twice."""
        history = released(with_gaps(), (2, 2))
        with pytest.raises(NumbersNotMissing, match="missing are 3, 6"):
            released(history, (2, 3))

    def test_where_only_the_created_is_missing_no_number_is(self) -> None:
        """So that none can be given up."""
        with pytest.raises(NumbersNotMissing, match="no number is missing"):
            released(History(completed()), (1, 1))

    def test_what_waits_for_a_created_is_closed_and_nothing_is_paid(self) -> None:
        """Nobody is told anything; the order is not held any more, nor to be released again."""
        history = released(History(updated(), completed(at_ns=1, offset=1)))
        assert isinstance(history.events[-1], CreateGivenUp)
        assert history.effects == []
        assert (history.order.status, history.order.waiting, len(history.order.held)) == (Status.NOT_CREATED, (), 2)
        with pytest.raises(NothingToRelease, match=f"no message of order {ORDER_ID} is held"):
            released(history)

    def test_numbers_and_the_created_are_given_up_at_once(self) -> None:
        """With numbers alone the created stays missing."""
        history = released(History(updated(sequence=2), completed(at_ns=1, offset=1, sequence=4)))
        assert kinds_of(history.events[2:]) == [
            "gap-accepted",
            "gap-accepted",
            "message-held",
            "message-held",
            "create-given-up",
        ]
        some = released(History(updated(sequence=2)), (1, 1))
        assert kinds_of(some.events[1:]) == ["gap-accepted", "message-held"]
        assert len(some.order.waiting) == 1

    def test_a_created_that_comes_after_all_counts_and_what_was_closed_has_its_turn(self) -> None:
        """As if nobody had given it up."""
        history = released(History(updated(at_ns=1, cashback="9"), completed(at_ns=2, offset=1)))
        history.tell(created(at_ns=0, partition=1))
        assert history.outcome == (Status.COMPLETED, Decimal(9))
        assert history.order.held == ()

    def test_a_number_that_comes_after_all_has_its_place(self) -> None:
        """Before the end it is superseded by a greater one; after it, it is late, with a doubt."""
        history = released(with_gaps(), (2, 3))
        assert kinds_of(history.tell(updated(at_ns=2, offset=8, sequence=2, cashback="50"))) == [
            "update-superseded"
        ]
        ended = released(history)
        [event] = ended.tell(updated(at_ns=3, offset=9, sequence=3, cashback="60"))
        assert kinds_of([event]) == ["message-rejected"]
        assert ended.outcome == (Status.COMPLETED, Decimal(5))

    def test_a_release_that_leaves_nothing_waiting_gives_no_created_up(self) -> None:
        """What waited for its number was refused in its turn."""
        history = released(History(created(sequence=2, negative=True)))
        assert kinds_of(history.events[1:]) == ["gap-accepted", "message-rejected"]
        assert history.order.doubts == {Doubt.NEGATIVE_CASHBACK}

    def test_what_is_released_is_decided_by_the_policy(self) -> None:
        """As intake would have done: where corrections are taken, an update counts after the end."""
        arrivals = (created(sequence=1), completed(at_ns=1, offset=1, sequence=2))
        late = updated(at_ns=LATER_NS, offset=2, sequence=4, cashback="9")
        policy = Policy(corrections=True)
        assert released(History(*arrivals, late)).outcome == (Status.COMPLETED, Decimal(6))
        corrected = released(History(*arrivals, late, policy=policy), policy=policy)
        assert corrected.outcome == (Status.COMPLETED, Decimal(9))

    def test_nothing_is_released_where_nothing_is_held(self) -> None:
        """Whatever numbers are named."""
        for numbers in (None, (2, 2)):
            with pytest.raises(NothingToRelease):
                released(History(created(sequence=1)), numbers)

    @pytest.mark.parametrize("order", list(permutations(range(3))))
    def test_in_whatever_order_messages_came_the_same_is_released(self, order: tuple[int, ...]) -> None:
        """By their numbers."""
        waiting = (
            updated(at_ns=3, offset=1, sequence=3, cashback="3"),
            updated(at_ns=5, offset=2, sequence=5, cashback="5"),
            cancelled(at_ns=7, offset=3, sequence=7),
        )
        history = released(History(created(sequence=1), *(waiting[place] for place in order)))
        assert history.outcome == (Status.CANCELLED, Decimal(5))

    def test_a_stream_with_decisions_of_people_folds_to_the_same_order(self) -> None:
        """From its events alone."""
        history = settled(released(twice_created_and_held()))
        assert fold(Order(ORDER_ID), history.events) == history.order
        assert history.order.open_doubts == ()


def twice_created_and_held() -> History:
    history = twice_created()
    history.tell(completed(at_ns=9, offset=3, sequence=9))
    return history


class TestNumbers:
    def test_they_are_written_as_they_are_read(self) -> None:
        """One, or a first and a last."""
        for numbers, text in (((4, 4), "4"), ((4, 6), "4-6"), ((1, 10**17), f"1-{10**17}")):
            assert format_numbers(numbers) == text
            assert parse_numbers(text) == numbers

    @pytest.mark.parametrize(
        "text", ["", "0", "4-0", "04", "4-", "-4", "4-6-8", "a", "4 - 6", "٤", f"{10**18}", "+4", "4\n"]
    )
    def test_what_names_no_numbers_is_refused(self, text: str) -> None:
        """With an example of what would."""
        with pytest.raises(BadNumbers, match="`4` or `4-6`"):
            parse_numbers(text)


class TestRefusals:
    def test_each_says_what_is_wrong_and_knows_the_order(self) -> None:
        """In one sentence, for whoever asked."""
        nothing_open, nothing_held = NothingToSettle(7), NothingToRelease(7)
        assert (str(nothing_open), nothing_open.order_id) == ("order 7 has no open doubt", 7)
        assert (str(nothing_held), nothing_held.order_id) == ("no message of order 7 is held", 7)
        some, none = NumbersNotMissing(7, "2-3, 6"), NumbersNotMissing(7, "")
        assert str(some) == "order 7 doesn't wait for these numbers; missing are 2-3, 6"
        assert str(none) == "order 7 doesn't wait for these numbers; no number is missing"
        assert (some.order_id, some.missing, none.missing) == (7, "2-3, 6", "")

    def test_it_is_about_the_order_that_was_asked_for(self) -> None:
        """Whichever it is."""
        with pytest.raises(NumbersNotMissing, match=f"^order {ORDER_ID} "):
            released(with_gaps(), (1, 1))

    def test_a_text_that_names_no_numbers_is_quoted_no_further_than_need_be(self) -> None:
        """Fifty characters of it."""
        assert str(BadNumbers("x" * 51)) == f"'{'x' * 50}' are no numbers: `4` or `4-6`"


def test_a_doubt_that_is_settled_had_money_at_stake() -> None:
    """Which the order then has no more."""
    history = twice_created()
    assert sum((each.at_stake or ZERO for each in history.order.open_doubts), ZERO) == 6
    assert settled(history).order.open_doubts == ()


# A stream that has lost events.


def stamped_lifecycle() -> History:
    return History(
        created(sequence=1),
        updated(sequence=2, at_ns=1, offset=1, cashback="7"),
        updated(sequence=3, at_ns=2, offset=2, cashback="8"),
        completed(sequence=4, at_ns=3, offset=3),
    )


def without(history: History, *versions: int) -> "list[OrderEvent]":
    return [event for event in history.events if event.originator_version not in versions]


def test_behind_an_event_that_is_missing_only_the_version_counts() -> None:
    """The order is as it was before it, and says what it lacks."""
    order = fold(None, without(stamped_lifecycle(), 2, 3))
    assert order is not None
    assert (order.version, order.missing, order.status) == (4, ((2, 3),), Status.PENDING)
    order = fold(None, without(stamped_lifecycle(), 1, 3))
    assert order is not None
    assert (order.version, order.missing, order.status) == (4, ((1, 1), (3, 3)), Status.NOT_CREATED)


@pytest.mark.parametrize("lost", [(1,), (2,), (4,), (1, 2), (1, 2, 3), (2, 4)])
def test_once_repaired_all_that_is_left_counts_with_a_doubt(lost: tuple[int, ...]) -> None:
    """Whatever was lost, the creation and the end too; and nothing more is to be repaired."""
    history = stamped_lifecycle()
    decide(history, *decide_update_after_the_end(history))
    left = without(history, *lost)
    broken = fold(None, left)
    assert broken is not None
    filled = repair(broken, JANE, now_ns=NOW_NS)
    assert [event.originator_version for event in filled] == list(lost)
    order = fold(None, sorted([*left, *filled], key=lambda event: event.originator_version))
    assert order is not None
    assert (order.version, order.missing) == (5, ())
    assert order.status is (Status.PENDING if 4 in lost else Status.COMPLETED)
    assert {doubt.version for doubt in order.open_doubts if doubt.doubt is Doubt.UNCERTAIN_ORDER} >= set(lost)
    with pytest.raises(NothingToRepair):
        repair(order, JANE, now_ns=NOW_NS)


def decide_update_after_the_end(history: History) -> "list[OrderEvent]":
    """A fifth event, so that the lost ones are never the last."""
    late = updated(sequence=5, at_ns=4, offset=4, cashback="9")
    return list(domain_decide(history.order, late, now_ns=NOW_NS))


def test_a_lost_message_that_is_published_again_counts() -> None:
    """Though greater numbers have had their turn; a message that wasn't lost is a repeat."""
    history = stamped_lifecycle()
    left = without(history, 2)
    broken = fold(None, left)
    assert broken is not None
    filled = repair(broken, JANE, now_ns=NOW_NS)
    order = fold(None, sorted([*left, *filled], key=lambda event: event.originator_version))
    assert order is not None
    again = updated(sequence=2, at_ns=1, offset=21, cashback="7")
    [refused] = domain_decide(order, again, now_ns=NOW_NS)
    assert isinstance(refused, MessageRejected)
    assert refused.refusal is Refusal.LATE
    kept = updated(sequence=3, at_ns=2, offset=22, cashback="8")
    assert domain_decide(order, kept, now_ns=NOW_NS) == ()
