"""What is said of an order first, in every state, with every state of its calls, in outages and in doubt."""

from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any, Final

import pytest

from adapters.presentation.order_standing import Payment
from adapters.presentation.verdict import OrderVerdict, verdict
from adapters.presentation.verdict_words import Sum
from adapters.records.differences import LastComparison
from domain.events import Doubt
from domain.lifecycle import Status
from domain.money import DEFAULT_TILL, Till
from projections.reconciliation import BookEntry, Verdict
from projections.republication import CallState
from tests.support.standings import AT, DELIVERIES, DOWN, EARNED, LOCKED_OUT, SETTLED, difference, standing
from tests.support.verdict_cells import IN_AN_OUTAGE, IN_DOUBT, PLAIN

NO_CALLS: Final = Status.NOT_CREATED


def said(status: Status, delivery: str = SETTLED, **more: Any) -> OrderVerdict:
    return verdict(standing(status, delivery, **more), DEFAULT_TILL)


def cell(found: OrderVerdict) -> tuple[str, str]:
    return f"{found.code} {found.tone}", found.sentence


def test_every_state_has_its_cell() -> None:
    """Of an order that isn't created no call goes out."""
    possible = {
        (status, delivery)
        for status, delivery in product(Status, (SETTLED, *DELIVERIES))
        if status is not NO_CALLS or delivery == SETTLED
    }
    assert set(PLAIN) == set(IN_DOUBT) == possible
    assert set(IN_AN_OUTAGE) < possible


@pytest.mark.parametrize("place", PLAIN, ids=" ".join)
class TestEveryState:
    def test_says_what_was_paid_or_is_owed(self, place: tuple[Status, str]) -> None:
        found = said(*place)
        assert cell(found) == PLAIN[place]
        assert (found.step is not None) == (delivery_of(place) == "parked" and found.code != "stopped")

    def test_says_in_an_outage_why_nothing_moves(self, place: tuple[Status, str]) -> None:
        assert cell(said(*place, outage=DOWN)) == IN_AN_OUTAGE.get(place, PLAIN[place])

    def test_asks_for_a_decision_while_a_doubt_is_open(self, place: tuple[Status, str]) -> None:
        found = said(*place, doubts=[Doubt.LATE], at_stake=Decimal("42.50"))
        assert cell(found) == IN_DOUBT[place]
        if found.code == "needs_decision":
            assert (found.amount, found.action, found.runbook) == (
                Decimal("42.50"),
                "Settle…",
                "doubtful.md#settle",
            )
            assert found.detail.startswith("In doubt: late.")

    def test_puts_books_that_differ_before_all_but_what_is_broken(self, place: tuple[Status, str]) -> None:
        """Whatever else is so."""
        theirs = BookEntry(Status.COMPLETED, Decimal(6))
        other = difference(Verdict.AMOUNT, BookEntry(Status.COMPLETED, EARNED), theirs)
        found = said(*place, difference=other, doubts=[Doubt.LATE], outage=DOWN)
        if place[1] == "broken":
            assert found.code == "stopped"
            return
        assert cell(found) == ("books_differ bad", "Books differ: 7.50 TRY in ours, 6.00 TRY in the third party's")
        assert (found.amount, found.runbook) == (Decimal("1.50"), "reconcile.md")
        assert Sum("By the third party's books", Decimal(6)) in found.sums

    def test_is_whole_in_any_currency(self, place: tuple[Status, str]) -> None:
        """Each sum names it, in its own decimals, and no sentence has a hole."""
        for till in (Till("JPY"), Till("KWD")):
            found = verdict(standing(*place, outage=LOCKED_OUT), till)
            text = f"{found.sentence} {found.detail}"
            assert "TRY" not in text
            assert "None" not in text
            assert "  " not in text


def delivery_of(place: tuple[Status, str]) -> str:
    state, reason, _ = DELIVERIES.get(place[1], ("idle", None, None))
    return "held back" if reason == "doubtful" else state


class TestPayments:
    def test_what_was_corrected_says_from_what_to_what(self) -> None:
        first = Payment(EARNED, CallState.DELIVERED, is_paid=True, paid_at=AT)
        later = AT + timedelta(days=1)
        done = Payment(Decimal(6), CallState.DELIVERED, is_paid=True, paid_at=later, is_correction=True)
        found = said(Status.COMPLETED, cashback=Decimal(6), payments=[first, done])
        assert (found.sentence, found.detail) == ("Paid 6.00 TRY on 1 Mar 2025", "Corrected from 7.50 TRY.")
        nothing = Payment(Decimal(0), CallState.DELIVERED, is_paid=True, paid_at=later, is_correction=True)
        back = said(Status.COMPLETED, cashback=Decimal(0), payments=[first, nothing])
        assert cell(back) == ("nothing_owed ok", "Nothing owed: taken back on 1 Mar 2025")

    @pytest.mark.parametrize(
        ("delivery", "clause"),
        [("due", "about to be sent"), ("refused", "not paid: the third party refused the completion")],
    )
    def test_a_correction_on_its_way_leaves_what_was_paid_in_front(self, delivery: str, clause: str) -> None:
        first = Payment(EARNED, CallState.DELIVERED, is_paid=True, paid_at=AT)
        on_its_way = Payment(Decimal(6), CallState.DUE, is_correction=True)
        found = said(Status.COMPLETED, delivery, cashback=Decimal(6), payments=[first, on_its_way])
        assert found.sentence == f"Paid 7.50 TRY, the correction to 6.00 TRY is {clause}"
        assert found.amount == Decimal("-1.50")

    def test_a_payment_that_was_skipped_is_not_paid(self) -> None:
        found = said(Status.COMPLETED, payments=[Payment(EARNED, CallState.SKIPPED)])
        assert cell(found) == ("not_paid bad", "Owed 7.50 TRY, not sent: the completion was skipped")
        assert found.runbook == "redeliver.md"
        maybe = said(Status.COMPLETED, payments=[Payment(EARNED, CallState.SKIPPED, may_be_done=True)])
        assert maybe.sentence == "Owed 7.50 TRY, perhaps paid: the completion was skipped"

    def test_a_payment_that_is_sent_again_stays_paid(self) -> None:
        """With its old key nothing can happen; with a new one it may be paid twice, and that is said."""
        again = Payment(EARNED, CallState.DUE, is_paid=True, paid_at=AT)
        found = said(Status.COMPLETED, "due", payments=[again])
        assert cell(found) == ("paid wait", "Paid 7.50 TRY on 28 Feb 2025")
        renewed = Payment(EARNED, CallState.DUE, is_paid=True, paid_at=AT, is_renewed=True)
        found = said(Status.COMPLETED, "due", payments=[renewed])
        assert cell(found) == ("paid warn", "Paid 7.50 TRY on 28 Feb 2025")
        assert "may be paid twice" in found.detail

    def test_an_order_that_earned_nothing_owes_nothing(self) -> None:
        zero = Decimal("0.00")
        found = said(Status.COMPLETED, cashback=zero, payments=[Payment(zero, CallState.DELIVERED, is_paid=True)])
        assert cell(found) == ("nothing_owed ok", "Nothing owed: the order earned nothing")


class TestDoubts:
    @pytest.mark.parametrize(
        ("status", "at_stake", "rest"),
        [
            (Status.COMPLETED, None, "7.50 TRY paid, and that may be wrong"),
            (Status.COMPLETED, Decimal("-1.50"), "7.50 TRY paid, 6.00 TRY may be owed"),
            (Status.COMPLETED, Decimal("-7.50"), "7.50 TRY paid, nothing may be owed"),
            (Status.PENDING, Decimal("4.50"), "7.50 TRY pending, 12.00 TRY may be right"),
            (Status.CANCELLED, Decimal("7.50"), "cancelled, 7.50 TRY may be owed"),
            (Status.NOT_CREATED, None, "not created, and that may be wrong"),
        ],
    )
    def test_say_both_readings(self, status: Status, at_stake: Decimal | None, rest: str) -> None:
        found = said(status, doubts=[Doubt.CREATED_TWICE], at_stake=at_stake)
        assert found.sentence == f"Needs a decision: {rest}"

    def test_about_the_buyer_say_so(self) -> None:
        found = said(Status.COMPLETED, doubts=[Doubt.BUYER_CHANGED, Doubt.LATE], at_stake=Decimal(0))
        assert found.sentence == "Needs a decision: 7.50 TRY paid, perhaps for another buyer"
        assert found.detail == "In doubt: buyer changed, late."

    def test_that_hold_a_payment_back_say_so(self) -> None:
        found = said(Status.COMPLETED, "held back", doubts=[Doubt.LATE])
        assert found.detail == "In doubt: late. The payment is held back until a person has settled it."


class TestMessages:
    def test_that_wait_are_counted_and_can_be_released(self) -> None:
        early = said(Status.NOT_CREATED, held=2, held_cashback=Decimal(6))
        assert cell(early) == (
            "not_yet_owed warn",
            "Nothing owed yet: waiting for the CREATED, 6.00 TRY may follow",
        )
        assert early.detail == "2 messages are held until what comes before has come."
        gap = said(Status.PENDING, held=1)
        assert gap.sentence == (
            "Nothing owed yet: waiting for a missing message, 7.50 TRY when the order completes"
        )
        for found in (early, gap):
            assert found.step is not None
            assert (found.action, found.step.page) == ("Release…", "/orders/24323523/release")

    def test_that_were_given_up_owe_nothing(self) -> None:
        found = said(Status.NOT_CREATED, is_given_up=True)
        assert cell(found) == ("nothing_owed ok", "Nothing owed: closed without a CREATED")

    def test_in_quarantine_are_never_passed_over(self) -> None:
        """Also of an order that is paid."""
        found = said(Status.COMPLETED, unread=17)
        assert cell(found) == ("paid warn", "Paid 7.50 TRY on 28 Feb 2025")
        assert found.detail == "A message that names this order can't be read."
        assert found.step is not None
        assert (found.action, found.step.page) == ("Open the message", "/quarantine/17")

    def test_that_were_lost_stop_the_order(self) -> None:
        found = said(Status.PENDING, missing_versions=True)
        assert cell(found) == ("stopped bad", "Stopped, its history has a gap: 7.50 TRY pending")
        assert found.runbook == "reconcile.md#a-stream-that-has-lost-events"


class TestBooks:
    @pytest.mark.parametrize(
        ("verdict", "ours", "theirs", "what", "amount"),
        [
            (
                Verdict.AMOUNT,
                "COMPLETED 7.50",
                "COMPLETED 6",
                "7.50 TRY in ours, 6.00 TRY in the third party's",
                "1.50",
            ),
            (
                Verdict.MISSING_THERE,
                "PENDING 7.50",
                None,
                "7.50 TRY in ours, no such order in the third party's",
                "7.50",
            ),
            (Verdict.MISSING_HERE, None, "PENDING 6", "no such order in ours, 6.00 TRY in the third party's", "6"),
            (
                Verdict.STATE,
                "COMPLETED 7.50",
                "CANCELLED 7.50",
                "completed in ours, cancelled in the third party's",
                "7.50",
            ),
        ],
    )
    def test_that_differ_say_how(
        self, verdict: Verdict, ours: str | None, theirs: str | None, what: str, amount: str
    ) -> None:
        found = said(Status.COMPLETED, difference=difference(verdict, entry(ours), entry(theirs)))
        assert (found.sentence, found.amount) == (f"Books differ: {what}", Decimal(amount))
        assert found.detail == "By our own record: 7.50 TRY paid."
        assert found.action == ("Redeliver…" if verdict is Verdict.MISSING_THERE else "Compare again…")
        assert found.comparison == (
            "Compared with the third party's books on 28 Feb 2025, 12:04 UTC: they differ,"
            " since 28 Feb 2025, 12:04 UTC."
        )

    @pytest.mark.parametrize(
        ("last", "says"),
        [
            (None, "Never compared with the third party's books."),
            (Verdict.AGREES, "Compared with the third party's books on 28 Feb 2025, 12:04 UTC: they agree."),
            (
                Verdict.IN_FLIGHT,
                (
                    "Compared with the third party's books on 28 Feb 2025, 12:04 UTC:"
                    " some calls were still on their way."
                ),
            ),
        ],
    )
    def test_say_when_they_were_last_compared(self, last: Verdict | None, says: str) -> None:
        compared = None if last is None else LastComparison(last, AT)
        assert said(Status.COMPLETED, last_comparison=compared).comparison == says


def entry(text: str | None) -> BookEntry | None:
    if text is None:
        return None
    status, amount = text.split()
    return BookEntry(Status(status), Decimal(amount))


def test_amounts_of_seven_digits_are_grouped() -> None:
    rich = Decimal("1234567.50")
    paid = Payment(rich, CallState.DELIVERED, is_paid=True, paid_at=AT)
    assert said(Status.COMPLETED, cashback=rich, payments=[paid]).sentence == "Paid 1,234,567.50 TRY on 28 Feb 2025"
