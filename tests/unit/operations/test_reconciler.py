"""What a comparison with the third party's books means, and which streams break what must always hold."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.decision import Policy
from domain.effects import EffectKind, effect_of
from domain.events import OrderEvent
from domain.lifecycle import Status
from domain.messages import Kind
from projections.reconciliation import (
    AskedCall,
    BookEntry,
    Credits,
    Invariant,
    NotedCall,
    OrderComparison,
    OurSide,
    Verdict,
    broken_invariants,
    compare,
    moving,
    unanswered,
)
from projections.republication import CallState
from tests.support.messages import History, message

CREATE, UPDATE, CANCEL, COMPLETE, CORRECT = EffectKind
DELIVERED, DUE, SKIPPED = CallState.DELIVERED, CallState.DUE, CallState.SKIPPED

Asked = tuple[EffectKind, str | None]


def ours(*calls: Asked, delivered: int | None = None, states: Sequence[CallState] | None = None) -> OurSide:
    """An order with these calls, of which so many are delivered: all unless told."""
    asked = [
        AskedCall(version, kind, None if amount is None else Decimal(amount), is_projected=True)
        for version, (kind, amount) in enumerate(calls, 1)
    ]
    delivered = len(calls) if delivered is None else delivered
    states = states or [DELIVERED if call.version <= delivered else DUE for call in asked]
    noted = [NotedCall(*call[:3], state) for call, state in zip(asked, states, strict=True)]
    return OurSide(7, len(calls), delivered, tuple(asked), tuple(noted))


def pending(amount: str) -> BookEntry:
    return BookEntry(Status.PENDING, Decimal(amount))


def completed(amount: str) -> BookEntry:
    return BookEntry(Status.COMPLETED, Decimal(amount))


def cancelled(amount: str) -> BookEntry:
    return BookEntry(Status.CANCELLED, Decimal(amount))


LIFE: tuple[Asked, ...] = ((CREATE, "6"), (UPDATE, "5"), (COMPLETE, "5"))


@pytest.mark.parametrize(
    ("delivered", "theirs", "expected"),
    [
        (3, completed("5.00"), Verdict.AGREES),
        (3, None, Verdict.MISSING_THERE),
        (3, completed("6"), Verdict.AMOUNT),
        (3, pending("5"), Verdict.STATE),
        (3, cancelled("5"), Verdict.STATE),
        (2, pending("5"), Verdict.IN_FLIGHT),
        (2, completed("5"), Verdict.AGREES),  # carried out already; we have only not heard of it
        (2, pending("6"), Verdict.AMOUNT),  # that call was overtaken by one that they have answered
        (2, None, Verdict.MISSING_THERE),
        (2, cancelled("5"), Verdict.STATE),
        (0, None, Verdict.IN_FLIGHT),
        (0, pending("6"), Verdict.IN_FLIGHT),
        (0, pending("7"), Verdict.AMOUNT),
    ],
)
def test_the_third_party_stands_where_one_of_our_calls_has_left_it(
    delivered: int, theirs: BookEntry | None, expected: Verdict
) -> None:
    """After the last one that it has answered, or one behind that; anywhere else it differs."""
    assert compare(ours(*LIFE, delivered=delivered), theirs).verdict is expected


def test_a_difference_shows_what_the_delivered_calls_should_have_brought_about() -> None:
    """And an order in flight what all of its calls will."""
    assert compare(ours(*LIFE, delivered=2), pending("6")) == (Verdict.AMOUNT, pending("5"), pending("6"))
    assert compare(ours(*LIFE, delivered=2), pending("5")) == (Verdict.IN_FLIGHT, completed("5"), pending("5"))
    assert moving(ours(*LIFE), None) == (Verdict.IN_FLIGHT, completed("5"), None)
    assert unanswered(ours(*LIFE, delivered=1)) == (Verdict.UNKNOWN, pending("6"), None)


def test_an_order_that_we_never_heard_of_is_missing_here() -> None:
    """If nobody knows it, there's nothing to say; if we hold its messages, it's another matter."""
    stranger = OurSide(7, 0, 0, (), ())
    assert compare(stranger, pending("6")).verdict is Verdict.MISSING_HERE
    assert compare(stranger, None) == OrderComparison(Verdict.AGREES, None, None)
    holding = OurSide(7, 2, 0, (), ())
    assert compare(holding, pending("6")).verdict is Verdict.STATE


def test_of_a_cancelled_order_nothing_is_owed() -> None:
    """The third party may keep the amount, or say zero; another one is a difference."""
    life: tuple[Asked, ...] = ((CREATE, "6"), (CANCEL, None))
    assert compare(ours(*life), cancelled("6")).verdict is Verdict.AGREES
    assert compare(ours(*life), cancelled("0.00")).verdict is Verdict.AGREES
    assert compare(ours(*life), cancelled("5")).verdict is Verdict.AMOUNT
    assert compare(ours((CREATE, "6")), pending("0")).verdict is Verdict.AMOUNT


def test_a_skipped_call_should_bring_about_nothing() -> None:
    """A person has given it up; if it was carried out after all, that is a difference."""
    skipped = ours(*LIFE[:2], states=[DELIVERED, SKIPPED])
    assert compare(skipped, pending("6")).verdict is Verdict.AGREES
    assert compare(skipped, pending("5")).verdict is Verdict.AMOUNT


def test_a_call_that_is_sent_again_was_delivered_before() -> None:
    """A redelivery makes calls due anew: the third party is ahead of them, and right."""
    again = ours(*LIFE, states=[DELIVERED, DUE, DUE])
    assert compare(again, completed("5")).verdict is Verdict.AGREES
    assert compare(again, None).verdict is Verdict.MISSING_THERE
    only_the_first_again = ours(*LIFE, states=[DUE, DELIVERED, DUE])
    assert compare(only_the_first_again, pending("6")).verdict is Verdict.AMOUNT


def test_only_some_classes_mean_that_money_may_be_wrong() -> None:
    """The others are no reason to wake anybody."""
    assert {verdict for verdict in Verdict if verdict.is_real} == {
        Verdict.MISSING_THERE,
        Verdict.MISSING_HERE,
        Verdict.AMOUNT,
        Verdict.STATE,
    }


def side_of(events: Sequence[OrderEvent], projected: int) -> OurSide:
    """As the database has it once so many of the events are projected."""
    asked = []
    for event in events:
        if (effect := effect_of(event)) is not None:
            done = event.originator_version <= projected
            amount = getattr(event, "cashback", None)
            asked.append(AskedCall(event.originator_version, effect.kind, amount, is_projected=done))
    noted = [NotedCall(*call[:3], DUE) for call in asked if call.is_projected]
    return OurSide(1, len(events), 0, tuple(asked), tuple(noted))


@given(
    kinds=st.lists(st.sampled_from(Kind), max_size=8),
    amounts=st.lists(st.sampled_from(["0", "1.5", "2"]), min_size=8, max_size=8),
    projected=st.integers(0, 12),
    corrections=st.booleans(),
)
def test_whatever_is_received_no_invariant_is_broken(
    kinds: list[Kind], amounts: list[str], projected: int, *, corrections: bool
) -> None:
    """`decide` sees to it; and both sums are the same however far the projection has come."""
    history = History(policy=Policy(corrections=corrections))
    for number, (kind, amount) in enumerate(zip(kinds, amounts, strict=False)):
        history.tell(message(kind, at_ns=number, offset=number, cashback=amount))
    side = side_of(history.events, projected)
    assert broken_invariants(side) == []
    credits_ = Credits()
    credits_.add(side)
    assert credits_.match
    assert credits_.orders == sum(call.kind is COMPLETE for call in side.noted)


@pytest.mark.parametrize(
    ("calls", "broken"),
    [
        ([(CREATE, "6"), (CREATE, "6")], {Invariant.CREATED_ONCE}),
        ([(UPDATE, "6"), (CREATE, "6")], {Invariant.CREATED_FIRST}),
        ([(CREATE, "6"), (COMPLETE, "6"), (COMPLETE, "6")], {Invariant.ENDED_ONCE}),
        ([(CREATE, "6"), (CANCEL, None), (COMPLETE, "6")], {Invariant.ENDED_ONCE}),
        ([(CREATE, "6"), (CANCEL, None), (UPDATE, "6")], {Invariant.NOTHING_AFTER_END}),
        ([(CREATE, "6"), (UPDATE, "5"), (COMPLETE, "6")], {Invariant.CREDIT_IS_CASHBACK}),
        ([(COMPLETE, "6")], {Invariant.CREATED_FIRST, Invariant.CREDIT_IS_CASHBACK}),
        ([(CREATE, "6"), (CORRECT, "5")], {Invariant.CORRECTED_AFTER_CREDIT}),
        ([(CREATE, "6"), (CORRECT, "6"), (COMPLETE, "6")], {Invariant.CORRECTED_AFTER_CREDIT}),
        ([(CREATE, "6"), (CANCEL, None), (CORRECT, "0")], {Invariant.CORRECTED_AFTER_CREDIT}),
        ([(CREATE, "6"), (COMPLETE, "6"), (CORRECT, "5"), (UPDATE, "5")], {Invariant.NOTHING_AFTER_END}),
        ([(CREATE, "6"), (COMPLETE, "6"), (CORRECT, "5"), (COMPLETE, "6")], {Invariant.ENDED_ONCE}),
    ],
)
def test_a_stream_that_nobody_could_have_decided_is_found_out(calls: list[Asked], broken: set[Invariant]) -> None:
    """By name."""
    assert set(broken_invariants(ours(*calls))) == broken


RETURNED: tuple[Asked, ...] = (*LIFE, (CORRECT, "2"), (CORRECT, "0"))


@pytest.mark.parametrize(
    ("delivered", "theirs", "expected"),
    [
        (5, completed("0"), Verdict.AGREES),
        (5, completed("5"), Verdict.AMOUNT),
        (4, completed("0"), Verdict.AGREES),
        (4, completed("2.00"), Verdict.IN_FLIGHT),
        (3, completed("2"), Verdict.IN_FLIGHT),
        (3, completed("5"), Verdict.IN_FLIGHT),
        (3, completed("3"), Verdict.AMOUNT),
        (5, pending("0"), Verdict.STATE),
        (5, cancelled("0"), Verdict.STATE),
    ],
)
def test_a_corrected_order_stays_completed_with_another_amount(
    delivered: int, theirs: BookEntry, expected: Verdict
) -> None:
    """Anywhere between the last call answered and the last one asked for."""
    assert compare(ours(*RETURNED, delivered=delivered), theirs).verdict is expected


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [("25.08745", Verdict.AGREES), ("25.09", Verdict.AGREES), ("25.08", Verdict.AGREES), ("25.1", Verdict.AMOUNT)],
)
def test_what_the_third_party_keeps_in_minor_units_is_no_difference(theirs: str, expected: Verdict) -> None:
    """Rounded half up or cut off; what is shown are the amounts as each has them."""
    calls: list[Asked] = [(CREATE, "25.08745"), (COMPLETE, "25.08745")]
    found = compare(ours(*calls), completed(theirs))
    assert found == (expected, completed("25.08745"), completed(theirs))


def test_corrections_break_no_invariant_and_count_as_one_credit() -> None:
    """The sum is of what each order's buyer has in the end."""
    side = ours(*RETURNED[:4])
    assert broken_invariants(side) == []
    credits_ = Credits()
    for each in (side, ours(*LIFE), ours(*RETURNED)):
        credits_.add(each)
    assert (credits_.orders, credits_.credits) == (3, 3)
    assert credits_.owed == credits_.credited == Decimal(7)
    assert credits_.match
    wrong = side.noted[3]._replace(amount=Decimal(3))
    credits_.add(OurSide(7, 4, 0, side.asked, (*side.noted[:3], wrong)))
    assert not credits_.match


def test_the_ledger_has_the_calls_of_the_events_and_no_others() -> None:
    """With their kinds and amounts; what the projection hasn't passed yet may be missing."""
    side = ours(*LIFE)
    late = OurSide(7, 3, 0, (*side.asked[:2], side.asked[2]._replace(is_projected=False)), side.noted[:2])
    assert broken_invariants(late) == []
    missing = OurSide(7, 3, 0, side.asked, side.noted[:2])
    stranger = OurSide(7, 2, 0, side.asked[:2], side.noted)
    dearer = OurSide(7, 3, 0, side.asked, (*side.noted[:2], side.noted[2]._replace(amount=Decimal(500))))
    for broken in (missing, stranger, dearer):
        assert broken_invariants(broken) == [Invariant.LEDGER_IS_STORE]
        credits_ = Credits()
        credits_.add(broken)
        assert not credits_.match


def test_a_standing_reads_as_status_and_amount() -> None:
    """With the digits that it has."""
    assert str(completed("5.10")) == "COMPLETED 5.10"
    assert str(BookEntry(Status.CANCELLED, None)) == "CANCELLED"
