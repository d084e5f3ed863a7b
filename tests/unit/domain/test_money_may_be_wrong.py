"""Never silently wrong: what is refused or uncertain leaves a doubt with the money at stake; cases that were seen.

One partition, unstamped, unless it says otherwise.
"""

from collections.abc import Callable
from decimal import Decimal

import pytest
from msgspec.structs import replace

from domain.decision import Policy
from domain.effects import EffectKind
from domain.events import (
    CashbackCorrected,
    CorrectionNotNeeded,
    CreateGivenUp,
    Doubt,
    DoubtSettled,
    GapAccepted,
    MessageHeld,
    MessageRejected,
    Refusal,
    UpdateSuperseded,
)
from domain.intervention import NothingToRelease, NothingToSettle, NumbersNotMissing, missing_numbers
from domain.messages import Kind, Message
from tests.support.messages import SECOND_NS, History, cancelled, completed, created, kinds_of, message, updated

MINUTE_NS = 60 * SECOND_NS
CORRECTING = Policy(corrections=True)


def at(minute: float) -> int:
    return int(minute * MINUTE_NS)


def doubts_of(history: History) -> dict[Doubt, Decimal | None]:
    return {each.doubt: each.at_stake for each in history.order.open_doubts}


# A message keeps the place at which it was received, whenever it is decided.


def test_an_update_repaired_in_quarantine_is_superseded_by_one_behind_it() -> None:
    """Its offset is lower than that of the update that counts: the later one stays, and is paid."""
    history = History(
        created(offset=0),
        updated(at_ns=at(3), offset=2, cashback="2"),
        updated(at_ns=at(1.7), offset=1, cashback="50"),
        completed(at_ns=at(5), offset=3),
    )
    assert isinstance(history.events[2], UpdateSuperseded)
    assert history.outcome == ("COMPLETED", Decimal(2))
    assert doubts_of(history) == {}


def test_an_update_repaired_after_the_completion_is_late() -> None:
    """Its offset is before the end's: refused as late, with its doubt."""
    history = History(
        created(offset=0),
        updated(at_ns=at(3), offset=2, cashback="2"),
        completed(at_ns=at(5), offset=3),
        updated(at_ns=at(1.7), offset=1, cashback="50"),
    )
    event = history.events[-1]
    assert isinstance(event, MessageRejected)
    assert (event.refusal, event.doubt) == (Refusal.LATE, Doubt.LATE)


def test_a_late_update_that_would_have_counted_says_how_much_is_at_stake() -> None:
    """50 would have been owed, and 6 was paid."""
    history = History(created(), completed(at_ns=at(5), offset=3), updated(at_ns=at(1), offset=1, cashback="50"))
    assert doubts_of(history) == {Doubt.LATE: Decimal(44)}


# Dates that contradict the order of publishing.


def test_a_date_that_contradicts_the_order_of_the_lane_leaves_a_doubt() -> None:
    """A publisher's own late retry: the offset decides, and a person must look."""
    history = History(
        created(),
        updated(at_ns=at(10), offset=1, cashback="2"),
        updated(at_ns=at(0.5), offset=2, cashback="50"),
        completed(at_ns=at(20), offset=3),
    )
    assert history.outcome == ("COMPLETED", Decimal(50))
    assert doubts_of(history) == {Doubt.UNCERTAIN_ORDER: Decimal(-48)}


@pytest.mark.parametrize("minutes", [1, 1.01])
def test_dates_may_contradict_the_lane_by_as_much_as_clocks_differ(minutes: float) -> None:
    """Just at the tolerance there is no doubt, just beyond it there is."""
    history = History(created(), updated(at_ns=at(10), offset=1), updated(at_ns=at(10 - minutes), offset=2))
    assert (Doubt.UNCERTAIN_ORDER in history.order.doubts) == (minutes > 1)


def test_an_end_dated_before_the_last_update_of_its_lane_leaves_a_doubt() -> None:
    """The offset says that the update came first, the date that it came after the end."""
    history = History(created(), updated(at_ns=at(10), offset=1, cashback="2"), completed(at_ns=at(1), offset=2))
    assert history.outcome == ("COMPLETED", Decimal(2))
    assert doubts_of(history) == {Doubt.UNCERTAIN_ORDER: Decimal(4)}


def test_without_the_last_update_the_one_that_it_superseded_would_have_counted() -> None:
    """What is at stake is its amount, not that of the create."""
    history = History(
        created(),
        updated(at_ns=at(10), offset=1, cashback="2"),
        updated(at_ns=at(0.5), partition=1, cashback="5"),
        completed(at_ns=at(5), partition=2),
    )
    assert isinstance(history.events[2], UpdateSuperseded)
    assert doubts_of(history) == {Doubt.UNCERTAIN_ORDER: Decimal(3)}


@pytest.mark.parametrize("ahead_ns", [at(1) + 10**6, at(1) + 10**6 + 1])
def test_a_date_is_trusted_between_lanes_as_far_as_kafka_confirms_it(ahead_ns: int) -> None:
    """As long as it isn't further from Kafka's own timestamp than clocks differ."""
    ahead = updated(at_ns=at(180) + ahead_ns, timestamp_ms=180 * 60_000, partition=1)
    history = History(created(), ahead, updated(at_ns=at(10), partition=2))
    assert bool(history.order.doubts) == (ahead_ns > at(1) + 10**6)


# Refusals that would have changed the order.


@pytest.mark.parametrize(
    ("end", "after", "refusal", "doubt", "at_stake"),
    [
        (completed, cancelled(at_ns=at(9), offset=9), Refusal.ENDED_TWICE, Doubt.AFTER_END, Decimal(-6)),
        (cancelled, completed(at_ns=at(9), offset=9), Refusal.ENDED_TWICE, Doubt.AFTER_END, Decimal(6)),
        (completed, updated(at_ns=at(9), offset=9, cashback="2"), Refusal.AFTER_END, Doubt.AFTER_END, Decimal(-4)),
        (completed, updated(at_ns=at(9), offset=9, cashback="6"), Refusal.AFTER_END, None, None),
        (cancelled, updated(at_ns=at(9), offset=9, cashback="2"), Refusal.AFTER_END, None, None),
        (completed, completed(at_ns=at(9), offset=9), Refusal.ENDED_TWICE, None, None),
        (cancelled, cancelled(at_ns=at(9), offset=9), Refusal.ENDED_TWICE, None, None),
        (completed, created(at_ns=at(9), offset=9), Refusal.CREATED_TWICE, None, None),
        (
            completed,
            created(at_ns=at(9), offset=9, cashback="7"),
            Refusal.CREATED_TWICE,
            Doubt.CREATED_TWICE,
            Decimal(1),
        ),
        (
            completed,
            created(at_ns=at(9), offset=9, buyer="9"),
            Refusal.CREATED_TWICE,
            Doubt.CREATED_TWICE,
            Decimal(0),
        ),
        (
            completed,
            updated(at_ns=at(9), offset=9, cashback="-1", negative=True),
            Refusal.NEGATIVE_CASHBACK,
            Doubt.NEGATIVE_CASHBACK,
            Decimal(-6),
        ),
    ],
)
def test_a_refusal_that_would_have_changed_the_order_says_what_is_at_stake(
    end: Callable[..., Message],
    after: Message,
    refusal: Refusal,
    doubt: Doubt | None,
    at_stake: Decimal | None,
) -> None:
    """And the same again is harmless."""
    history = History(created(), end(at_ns=at(5), offset=5))
    (event,) = history.tell(after)
    assert isinstance(event, MessageRejected)
    assert (event.refusal, event.doubt, event.at_stake) == (refusal, doubt, at_stake)


@pytest.mark.parametrize("ending", [[], [completed(at_ns=at(5), offset=5)], [cancelled(at_ns=at(5), offset=5)]])
def test_an_update_for_another_buyer_is_refused(ending: list[Message]) -> None:
    """The third party would credit somebody else than our books say."""
    history = History(created(), *ending)
    before = history.order.stage
    (event,) = history.tell(updated(at_ns=at(9), offset=9, buyer="9"))
    assert isinstance(event, MessageRejected)
    assert (event.refusal, event.doubt) == (Refusal.BUYER_CHANGED, Doubt.BUYER_CHANGED)
    assert history.order.stage == before


@pytest.mark.parametrize("beginning", [[created()], [created(), updated(at_ns=at(1), offset=1)]])
def test_an_update_for_another_buyer_is_refused_against_the_terms_in_force(beginning: list[Message]) -> None:
    """The evidence names the event that it contradicts, and has the time of its lane."""
    history = History(*beginning)
    (event,) = history.tell(updated(at_ns=at(9), offset=9, buyer="9"))
    assert isinstance(event, MessageRejected)
    assert event.against_version == len(beginning)
    assert event.effective_at_ns == event.message.happened_at_ns


def test_an_end_for_another_buyer_is_accepted_with_a_doubt() -> None:
    """The order has ended, that much is clear; for whom isn't. The amount is in no doubt."""
    for end in (completed, cancelled):
        history = History(created(), end(at_ns=1, offset=1, buyer="9"))
        assert history.outcome == (end(buyer="9").kind.value, Decimal(6))
        assert doubts_of(history) == {Doubt.BUYER_CHANGED: Decimal(0)}


@pytest.mark.parametrize(("first", "second"), [("1234", None), (None, "1234"), (None, None)])
@pytest.mark.parametrize("message", [updated(at_ns=1, offset=1), completed(at_ns=1, offset=1)])
def test_a_buyer_that_is_not_named_is_no_other_buyer(
    message: Message, first: str | None, second: str | None
) -> None:
    """An end needn't say whose order it is."""
    history = History(replace(created(), buyer_id=first), replace(message, buyer_id=second))
    assert len(history.accepted) == 2
    assert doubts_of(history) == {}


def test_an_end_without_a_place_that_is_dated_before_the_last_update_leaves_a_doubt() -> None:
    """A replayed copy: only its date tells where it stood."""
    end = completed(at_ns=at(1), replay="r")
    history = History(created(), updated(at_ns=at(10), offset=1, cashback="2"), end)
    assert doubts_of(history) == {Doubt.UNCERTAIN_ORDER: Decimal(4)}


def test_an_end_may_be_doubtful_for_two_reasons() -> None:
    """Its date contradicts the lane, and it names another buyer: the money at stake is that of the first."""
    end = completed(at_ns=at(1), offset=2, buyer="9")
    history = History(created(), updated(at_ns=at(10), offset=1, cashback="2"), end)
    assert history.events[-1].doubts == (Doubt.UNCERTAIN_ORDER, Doubt.BUYER_CHANGED)
    assert history.events[-1].at_stake == Decimal(4)


def test_an_update_may_move_the_order_to_another_store() -> None:
    """It is shown as it then is."""
    history = History(created(), updated(at_ns=1, offset=1, store="77"))
    assert history.order.terms is not None
    assert history.order.terms.store_no == "77"
    assert doubts_of(history) == {}


# Amounts that can't be right.


@pytest.mark.parametrize(("cashback", "is_doubted"), [("100", False), ("100.01", True)])
def test_an_order_that_would_earn_too_much_is_doubtful(cashback: str, *, is_doubted: bool) -> None:
    """It is accepted as it is, and a person must look before it is paid."""
    policy = Policy(max_order_cashback=Decimal(100))
    history = History(created(), updated(at_ns=1, offset=1, cashback=cashback), policy=policy)
    assert history.outcome == ("PENDING", Decimal(cashback))
    assert history.order.doubts == ({Doubt.IMPLAUSIBLE_AMOUNT} if is_doubted else frozenset())
    history.tell(completed(at_ns=2, offset=2))
    assert history.outcome == ("COMPLETED", Decimal(cashback))


def test_a_price_far_from_its_discount_is_doubtful() -> None:
    """All of the money is at stake."""
    history = History(created(implausible=True, cashback="50"))
    assert doubts_of(history) == {Doubt.IMPLAUSIBLE_AMOUNT: Decimal(-50)}


def test_an_event_may_raise_two_doubts_at_once() -> None:
    """Both are in the event and in the order, and both are settled."""
    strange = updated(at_ns=at(0), offset=2, implausible=True, cashback="3")
    history = History(created(), updated(at_ns=at(10), offset=1), strange)
    assert history.events[-1].doubts == (Doubt.UNCERTAIN_ORDER, Doubt.IMPLAUSIBLE_AMOUNT)
    assert history.events[-1].at_stake == Decimal(3)
    assert history.order.doubts == set(history.events[-1].doubts)
    history.settle()
    assert history.order.doubts == frozenset()


# Facts with the same names.


def test_stamped_messages_of_one_transaction_and_one_date_are_all_facts() -> None:
    """Two numbers are two facts, whatever else they share."""
    said = [message(Kind.UPDATED, transaction="t", sequence=number, cashback=f"{number}") for number in (2, 3, 4)]
    history = History(message(Kind.CREATED, transaction="t", sequence=1), *said)
    assert kinds_of(history.events) == ["cashback-created", *["cashback-updated"] * 3]
    assert history.outcome == ("PENDING", Decimal(4))
    assert doubts_of(history) == {}


def test_a_fact_that_was_contradicted_may_be_told_again() -> None:
    """Only the first content about a fact decides: what was refused as its contradiction doesn't."""
    first = updated(at_ns=1, offset=1, cashback="2", transaction="t", ce_id="a")
    other = updated(at_ns=1, offset=2, cashback="3", transaction="t", ce_id="b")
    again = replace(first, identity="c", offset=3)
    history = History(created(), first, other, again)
    assert kinds_of(history.events)[1:] == ["cashback-updated", "message-rejected", "cashback-updated"]
    assert history.order.doubts == {Doubt.CONFLICT}


# After the end, where the third party takes corrections.


def test_goods_that_are_brought_back_are_corrected() -> None:
    """The whole amount that is right now, one call for each change; all may be taken back, and given again."""
    history = History(
        created(),
        completed(at_ns=at(1), offset=1),
        updated(at_ns=at(2), offset=2, cashback="2"),
        updated(at_ns=at(3), offset=3, cashback="2", content="other items"),
        cancelled(at_ns=at(4), offset=4),
        completed(at_ns=at(5), offset=5),
        policy=CORRECTING,
    )
    corrected = [each.cashback for each in history.events if isinstance(each, CashbackCorrected)]
    assert corrected == [Decimal(2), Decimal(0), Decimal(2)]
    assert isinstance(history.events[3], CorrectionNotNeeded)
    assert [effect.kind for effect in history.effects] == [
        *(EffectKind.CREATE, EffectKind.COMPLETE),
        *[EffectKind.CORRECT] * 3,
    ]
    assert doubts_of(history) == {}
    assert history.outcome == ("COMPLETED", Decimal(2))


def test_a_late_update_is_corrected_as_if_it_had_come_in_its_order() -> None:
    """Unless a later one has made it pointless."""
    end = completed(at_ns=at(5), offset=5)
    late = updated(at_ns=at(1), offset=1, cashback="50")
    history = History(created(), end, late, policy=CORRECTING)
    assert history.outcome == ("COMPLETED", Decimal(50))
    history = History(created(), updated(at_ns=at(2), offset=2, cashback="2"), end, late, policy=CORRECTING)
    assert history.outcome == ("COMPLETED", Decimal(2))
    assert isinstance(history.events[-1], CorrectionNotNeeded)
    assert doubts_of(history) == {}


def test_what_was_cancelled_at_the_third_party_cannot_be_corrected() -> None:
    """A completion after it is refused, with the money at stake; a late update is harmless."""
    history = History(
        created(),
        cancelled(at_ns=at(5), offset=5),
        updated(at_ns=at(1), offset=1, cashback="50"),
        policy=CORRECTING,
    )
    assert doubts_of(history) == {}
    (event,) = history.tell(completed(at_ns=at(9), offset=9))
    assert isinstance(event, MessageRejected)
    assert (event.doubt, event.at_stake) == (Doubt.AFTER_END, Decimal(50))


def test_a_completion_too_close_to_the_cancellation_that_was_told_leaves_a_doubt() -> None:
    """On another partition nobody can tell which was last, and what was cancelled there can't be corrected."""
    history = History(created(), cancelled(at_ns=at(5), offset=5), policy=CORRECTING)
    (event,) = history.tell(completed(at_ns=at(4.5), partition=1))
    assert isinstance(event, CorrectionNotNeeded)
    assert (event.doubt, event.at_stake) == (Doubt.UNCERTAIN_ORDER, Decimal(6))
    (event,) = history.tell(completed(at_ns=at(1), partition=2))
    assert event.doubt is None


def test_an_order_that_was_cancelled_reinstated_for_nothing_and_updated_leaves_a_doubt() -> None:
    """A completion that owed nothing counted silently; the amount that comes behind it can't be told."""
    history = History(
        created(cashback="0"),
        cancelled(at_ns=at(2), offset=2),
        completed(at_ns=at(3), offset=3),
        policy=CORRECTING,
    )
    assert doubts_of(history) == {}
    (event,) = history.tell(updated(at_ns=at(4), offset=4, cashback="4"))
    assert isinstance(event, MessageRejected)
    assert (event.refusal, event.doubt, event.at_stake) == (Refusal.AFTER_END, Doubt.AFTER_END, Decimal(4))


def test_the_items_in_force_after_a_correction_are_those_of_the_last_update() -> None:
    """Also where a late one changes nothing."""
    end = completed(at_ns=at(5), offset=5)
    history = History(created(), end, updated(at_ns=at(6), offset=6, store="8"), policy=CORRECTING)
    history.tell(updated(at_ns=at(1), offset=1, store="7"))
    assert history.order.terms is not None
    assert history.order.terms.update is not None
    assert history.order.terms.update.version == 3
    assert history.order.terms.store_no == "8"


# What people decide.


def test_a_settled_doubt_is_gone_and_a_new_one_opens_the_order_again() -> None:
    """Who, when, why and which doubts are in the stream."""
    history = History(created(), completed(at_ns=at(5), offset=5), cancelled(at_ns=at(6), offset=6))
    (event,) = history.settle()
    assert isinstance(event, DoubtSettled)
    assert (event.decided_by, event.reason, event.settled) == ("support", "asked the shop", ((Doubt.AFTER_END, 3),))
    assert doubts_of(history) == {}
    history.tell(updated(at_ns=at(7), offset=7, cashback="1"))
    assert doubts_of(history) == {Doubt.AFTER_END: Decimal(-5)}


def test_an_order_without_a_doubt_has_nothing_to_settle() -> None:
    """Said in one sentence."""
    with pytest.raises(NothingToSettle, match="has no open doubt"):
        History(created()).settle()


def test_a_gap_that_is_given_up_lets_what_waited_go_on() -> None:
    """In the order of the numbers; the missing one, should it come, has the place of its number."""
    history = History(
        created(sequence=1),
        updated(at_ns=3, sequence=3, cashback="3"),
        completed(at_ns=6, sequence=6),
    )
    assert missing_numbers(history.order) == [(2, 2), (4, 5)]
    first, *others = history.release((2, 2))
    assert isinstance(first, GapAccepted)
    assert kinds_of(others) == ["cashback-updated"]
    assert missing_numbers(history.order) == [(4, 5)]
    assert kinds_of(history.release()) == ["gap-accepted", "cashback-completed"]
    assert history.outcome == ("COMPLETED", Decimal(3))
    (late,) = history.tell(updated(at_ns=5, sequence=5, cashback="9"))
    assert isinstance(late, MessageRejected)
    assert (late.refusal, late.doubt, late.at_stake) == (Refusal.LATE, Doubt.LATE, Decimal(6))
    (taken,) = history.tell(updated(at_ns=4, sequence=5, cashback="8"))
    assert isinstance(taken, MessageRejected)
    assert taken.refusal is Refusal.SEQUENCE_TAKEN


def test_a_part_of_a_gap_may_be_given_up() -> None:
    """The rest is still waited for."""
    history = History(created(sequence=1), completed(at_ns=6, sequence=6))
    assert kinds_of(history.release((3, 4))) == ["gap-accepted"]
    assert missing_numbers(history.order) == [(2, 2), (5, 5)]
    history.tell(updated(at_ns=2, sequence=2, cashback="2"))
    assert history.order.last_sequence == 4
    assert kinds_of(history.release()) == ["gap-accepted", "cashback-completed"]


@pytest.mark.parametrize("numbers", [(1, 1), (2, 6), (6, 6), (7, 9), (4, 3)])
def test_only_numbers_that_are_missing_can_be_given_up(numbers: tuple[int, int]) -> None:
    """The error says which ones are."""
    history = History(created(sequence=1), completed(at_ns=6, sequence=6))
    with pytest.raises(NumbersNotMissing, match="missing are 2-5"):
        history.release(numbers)


def test_what_waits_for_a_create_that_will_never_come_is_closed_unpaid() -> None:
    """It isn't listed as waiting any more. Should the CREATED come after all, everything has its turn."""
    history = History(updated(at_ns=1, offset=1, cashback="4"), completed(at_ns=2, offset=2))
    (event,) = history.release()
    assert isinstance(event, CreateGivenUp)
    assert (history.order.waiting, history.effects) == ((), [])
    with pytest.raises(NothingToRelease, match="no message of order 24323523 is held"):
        history.release()
    assert kinds_of(history.tell(created())) == ["cashback-created", "cashback-updated", "cashback-completed"]
    assert history.outcome == ("COMPLETED", Decimal(4))


def test_a_missing_create_with_a_number_is_given_up_with_its_gap() -> None:
    """One decision of one person: the number, and what waited for the create behind it."""
    history = History(updated(at_ns=2, sequence=2), completed(at_ns=3, sequence=3))
    assert kinds_of(history.release()) == ["gap-accepted", "message-held", "message-held", "create-given-up"]
    assert history.order.waiting == ()
    assert isinstance(history.events[-1], MessageHeld)
