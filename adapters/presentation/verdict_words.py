"""Where an order's money stands, in sentences."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, Literal, NamedTuple, assert_never

from adapters.presentation.formatting import amount
from adapters.presentation.order_standing import OrderStanding, Payment
from adapters.records.differences import DifferenceRow
from adapters.records.status import Outage
from domain.effects import EffectKind
from domain.events import Doubt
from domain.lifecycle import Status
from domain.money import ZERO, Till
from projections.reconciliation import BROKEN, Verdict
from projections.republication import CallState

DOWN: Final = "the third party is down"
LOCKED_OUT: Final = "the third party refuses our credentials"
_CALLS: Final = {
    EffectKind.CREATE: "create call",
    EffectKind.UPDATE: "update",
    EffectKind.CANCEL: "cancellation",
    EffectKind.COMPLETE: "completion",
    EffectKind.CORRECT: "correction",
}
_STATES: Final = {
    Status.NOT_CREATED: "not created",
    Status.PENDING: "pending",
    Status.COMPLETED: "completed",
    Status.CANCELLED: "cancelled",
}


class VerdictCode(StrEnum):
    """Where an order's money stands, for programs."""

    PAID = "paid"
    OWED = "owed"
    """Not paid yet: it is on its way."""
    NOT_PAID = "not_paid"
    """Owed, and it won't be paid unless a person acts."""
    NOTHING_OWED = "nothing_owed"
    NOT_YET_OWED = "not_yet_owed"
    """The order hasn't ended."""
    NEEDS_DECISION = "needs_decision"
    """A doubt is open: only a person can tell what is owed."""
    BOOKS_DIFFER = "books_differ"
    """The third party's books say something else."""
    STOPPED = "stopped"
    """Something about the order is broken."""


Tone = Literal["ok", "wait", "warn", "bad"]
"""How loudly it is shown."""


class Sum(NamedTuple):
    """A line of the amounts beside the verdict."""

    name: str
    amount: Decimal
    at: datetime | None = None


class Said(NamedTuple):
    code: VerdictCode
    tone: Tone
    sentence: str
    amount: Decimal
    detail: str = ""


class VerdictWords:
    """The sentences, with the till's currency."""

    def __init__(self, order: OrderStanding, till: Till) -> None:
        self._order = order
        self._till = till
        self._cashback = order.cashback or ZERO

    def say(self) -> Said:
        order = self._order
        is_broken = order.is_parked and order.parked_reason.startswith(BROKEN)
        if order.missing_versions or is_broken:
            return self._stopped()
        if order.difference is not None:
            return self._differs(order.difference)
        if order.doubts:
            return self._needs_decision()
        match order.status:
            case Status.COMPLETED:
                return self._completed()
            case Status.CANCELLED:
                return self._cancelled()
            case Status.PENDING:
                return self._pending()
            case Status.NOT_CREATED:
                return self._not_created()
            case _:
                assert_never(order.status)

    def sums(self, code: VerdictCode) -> list[Sum]:
        order = self._order
        sums = []
        if order.cashback is not None and order.status is not Status.CANCELLED:
            sums.append(Sum("Earned", order.cashback))
        if order.paid is not None:
            sums.append(Sum("Paid", order.paid.amount, order.paid.paid_at))
        if code is VerdictCode.NEEDS_DECISION and order.at_stake:
            sums.append(Sum("At stake", abs(order.at_stake)))
        elif code in {VerdictCode.OWED, VerdictCode.NOT_PAID}:
            sums.append(Sum("To be paid", self._cashback - (order.paid.amount if order.paid else ZERO)))
        if order.difference is not None and order.difference.theirs and order.difference.theirs.amount is not None:
            sums.append(Sum("By the third party's books", order.difference.theirs.amount))
        return sums

    def comparison(self) -> str:
        last, difference = self._order.last_comparison, self._order.difference
        if difference is not None:
            return (
                f"Compared with the third party's books on {minute(difference.last_seen_at)}: they differ,"
                f" since {minute(difference.first_seen_at)}."
            )
        if last is None:
            return "Never compared with the third party's books."
        came = "some calls were still on their way" if last.verdict is Verdict.IN_FLIGHT else "they agree"
        return f"Compared with the third party's books on {minute(last.compared_at)}: {came}."

    # What stands above the states

    def _stopped(self) -> Said:
        if self._order.missing_versions:
            why = "its history has a gap"
            detail = "Events of this order are missing from the store, so nothing is decided and nothing is sent."
        else:
            why = "a safety check failed"
            checks = self._order.parked_reason.removeprefix(BROKEN).replace("_", " ")
            detail = f"Failed: {checks}. No call of this order is sent until that is understood."
        return Said(VerdictCode.STOPPED, "bad", f"Stopped, {why}: {self._position()}", self._our_amount(), detail)

    def _differs(self, difference: DifferenceRow) -> Said:
        ours, theirs = difference.ours, difference.theirs
        if ours is not None and theirs is not None and ours.status is not theirs.status:
            what = f"{_STATES[ours.status]} in ours, {_STATES[theirs.status]} in the third party's"
        elif theirs is None:
            what = f"{self._money(ours.amount if ours else None)} in ours, no such order in the third party's"
        else:
            ours_says = self._money(ours.amount) if ours else "no such order"
            what = f"{ours_says} in ours, {self._money(theirs.amount)} in the third party's"
        amounts = [each.amount or ZERO for each in (ours, theirs) if each is not None]
        is_same_state = ours is not None and theirs is not None and ours.status is theirs.status
        question = abs(amounts[0] - amounts[-1]) if is_same_state else max(amounts, default=ZERO)
        detail = f"By our own record: {self._position()}."
        return Said(VerdictCode.BOOKS_DIFFER, "bad", f"Books differ: {what}", question, detail)

    def _needs_decision(self) -> Said:
        order = self._order
        base = ZERO if order.status in {Status.CANCELLED, Status.NOT_CREATED} else self._cashback
        if order.at_stake:
            other = base + order.at_stake
            may = self._money(other) if other > ZERO else "nothing"
            rest = f"{may} may be {'right' if order.status is Status.PENDING else 'owed'}"
        elif Doubt.BUYER_CHANGED in order.doubts:
            rest = "perhaps for another buyer"
        else:
            rest = "and that may be wrong"
        named = ", ".join(sorted(each.replace("_", " ") for each in order.doubts))
        detail = f"In doubt: {named}."
        if order.is_held_back:
            detail += " The payment is held back until a person has settled it."
        elif self._undelivered():
            detail = f"{detail} {self._delivery_detail()}".rstrip()
        sentence = f"Needs a decision: {self._position()}, {rest}"
        return Said(VerdictCode.NEEDS_DECISION, "bad", sentence, self._amount_in_question(), detail)

    # The states

    def _completed(self) -> Said:
        order, cashback = self._order, self._cashback
        last = order.payments[-1] if order.payments else Payment(cashback, None)
        paid = order.paid
        if paid is last:
            return self._paid(paid)
        if paid is not None:  # a correction is on its way
            code, tone, clause = self._unpaid(last)
            sentence = f"Paid {self._money(paid.amount)}, the correction to {self._money(cashback)} is {clause}"
            return Said(code, tone, sentence, cashback - paid.amount, self._delivery_detail())
        if cashback == ZERO and not self._is_stuck(last):
            detail = self._delivery_detail() if self._undelivered() else ""
            return Said(VerdictCode.NOTHING_OWED, "ok", "Nothing owed: the order earned nothing", ZERO, detail)
        code, tone, clause = self._unpaid(last)
        sentence = f"Owed {self._money(cashback)}, {clause}"
        return Said(code, tone, sentence, cashback, self._delivery_detail())

    def _paid(self, paid: Payment) -> Said:
        order = self._order
        on = f" on {day(paid.paid_at)}" if paid.paid_at else ""
        before = order.payments[-2].amount if paid.is_correction and len(order.payments) > 1 else None
        detail = "" if before is None else f"Corrected from {self._money(before)}."
        tone: Tone = "ok"
        if paid.is_renewed and paid.state is not CallState.DELIVERED:
            tone, detail = "warn", "It is being sent again under a new key: it may be paid twice."
        elif self._undelivered():
            tone = "warn" if order.is_parked else "wait"
            detail = f"Being sent again. {self._delivery_detail()}".rstrip()
        if paid.amount == ZERO:
            what = f"taken back{on}" if before else "the order earned nothing"
            return Said(VerdictCode.NOTHING_OWED, tone, f"Nothing owed: {what}", ZERO, detail)
        return Said(VerdictCode.PAID, tone, f"Paid {self._money(paid.amount)}{on}", paid.amount, detail)

    def _is_stuck(self, payment: Payment) -> bool:
        return self._order.is_parked or payment.state is CallState.SKIPPED or payment.may_be_done

    def _unpaid(self, payment: Payment) -> tuple[VerdictCode, Tone, str]:
        """Of a payment that was not confirmed: what becomes of it, to follow "owed …" or "the correction is …"."""
        order = self._order
        maybe = payment.may_be_done
        if payment.state is CallState.SKIPPED:
            sent = "perhaps paid" if maybe else "not sent"
            return VerdictCode.NOT_PAID, "bad", f"{sent}: the {self._payment_name(payment)} was skipped"
        if order.is_parked:
            sent = "perhaps paid" if maybe else "not paid"
            return VerdictCode.NOT_PAID, "bad", f"{sent}: {self._parked_clause()}"
        if maybe:
            return VerdictCode.OWED, "warn", "perhaps paid: the third party hasn't answered"
        return VerdictCode.OWED, *self._on_its_way()

    def _head_detail(self) -> tuple[Tone, str]:
        """Of a call that pays nobody, and that the third party hasn't confirmed."""
        order = self._order
        if order.is_head_in_doubt:
            return "warn", f"The third party hasn't answered the {self._head()}: it may have taken it."
        tone, clause = self._on_its_way()
        return tone, f"The {self._head()} is {clause}."

    def _head(self) -> str:
        return _CALLS[self._order.head] if self._order.head else "call"

    def _on_its_way(self) -> tuple[Tone, str]:
        order, delivery = self._order, self._order.delivery
        if order.outage is not None:
            return "warn", f"not yet sent: {self._outage(order.outage)}"
        if delivery is not None and delivery.state == "retrying":
            failed = "1 attempt has" if delivery.attempts == 1 else f"{delivery.attempts} attempts have"
            return "warn", f"not yet sent: {failed} failed" if delivery.attempts else "not yet sent"
        if delivery is not None and delivery.state == "in_flight":
            return "wait", "being sent now"
        return "wait", "about to be sent"

    def _cancelled(self) -> Said:
        order, paid = self._order, self._order.paid
        if paid is not None and paid.amount > ZERO:
            sentence = f"Paid {self._money(paid.amount)}, and the order is cancelled"
            return Said(VerdictCode.NOT_PAID, "bad", sentence, paid.amount)
        on = f" on {day(order.ended_at)}" if order.ended_at else ""
        if order.is_parked:
            sentence = f"Nothing owed: cancelled, but {self._parked_clause()}"
            return Said(VerdictCode.NOTHING_OWED, "bad", sentence, ZERO, self._delivery_detail())
        if self._undelivered():
            tone, detail = self._head_detail()
            sentence = f"Nothing owed: cancelled{on}, not yet confirmed by the third party"
            return Said(VerdictCode.NOTHING_OWED, tone, sentence, ZERO, detail)
        return Said(VerdictCode.NOTHING_OWED, "ok", f"Nothing owed: cancelled{on}", ZERO)

    def _pending(self) -> Said:
        order = self._order
        later = f"{self._money(self._cashback)} when the order completes"
        if order.is_parked:
            sentence = f"Nothing owed yet, but {self._parked_clause()}"
            detail = f"{later}. {self._delivery_detail()}".rstrip()
            return Said(VerdictCode.NOT_YET_OWED, "bad", sentence, self._cashback, detail)
        if order.held:
            sentence = f"Nothing owed yet: waiting for a missing message, {later}"
            return Said(VerdictCode.NOT_YET_OWED, "warn", sentence, self._cashback, self._held())
        tone: Tone = "wait"
        detail = ""
        if self._undelivered():
            tone, detail = self._head_detail()
        return Said(VerdictCode.NOT_YET_OWED, tone, f"Nothing owed yet: {later}", self._cashback, detail)

    def _not_created(self) -> Said:
        order = self._order
        if order.held:
            later = "" if order.held_cashback is None else f", {self._money(order.held_cashback)} may follow"
            sentence = f"Nothing owed yet: waiting for the CREATED{later}"
            worth = order.held_cashback or ZERO
            return Said(VerdictCode.NOT_YET_OWED, "warn", sentence, worth, self._held())
        why = "closed without a CREATED" if order.is_given_up else "no CREATED was accepted"
        return Said(VerdictCode.NOTHING_OWED, "ok", f"Nothing owed: {why}", ZERO)

    # Parts of sentences

    def _position(self) -> str:
        """Where the money is, by our own record."""
        order, paid = self._order, self._order.paid
        if paid is not None:
            return f"{self._money(paid.amount)} paid"
        match order.status:
            case Status.COMPLETED:
                in_doubt = any(each.may_be_done for each in order.payments)
                return f"{self._money(self._cashback)} owed {'and perhaps' if in_doubt else 'but not'} paid"
            case Status.PENDING:
                return f"{self._money(self._cashback)} pending"
            case _:
                return _STATES[order.status]

    def _amount_in_question(self) -> Decimal:
        if self._order.at_stake:
            return abs(self._order.at_stake)
        return self._our_amount()

    def _our_amount(self) -> Decimal:
        return self._order.paid.amount if self._order.paid else self._cashback

    def _undelivered(self) -> bool:
        delivery = self._order.delivery
        return self._order.head is not None or (delivery is not None and delivery.state != "idle")

    def _delivery_detail(self) -> str:
        delivery = self._order.delivery
        if delivery is None:
            return ""
        match delivery.state:
            case "parked" if not self._order.is_held_back:
                since = f" since {minute(delivery.parked_at)}" if delivery.parked_at else ""
                return f"Parked{since}: {delivery.parked_reason}."
            case "retrying":
                return f"The next attempt is on {minute(delivery.next_attempt_at)}."
            case _:
                return ""

    def _parked_clause(self) -> str:
        """Of an order that is parked for a reason of its own."""
        order, reason = self._order, self._order.parked_reason
        call = self._head()
        if order.is_head_in_doubt:
            return f"nobody knows whether the third party took the {call}"
        if reason.startswith("refused"):
            return f"the third party refused the {call}"
        return f"every attempt at the {call} failed"

    def _outage(self, outage: Outage) -> str:
        since = minute(outage.since)
        if outage.reason.startswith(DOWN):
            return f"the third party has been down since {since}"
        if outage.reason.startswith(LOCKED_OUT):
            return f"the third party has refused our credentials since {since}"
        return f"calls have been held since {since}"

    def _held(self) -> str:
        held = self._order.held
        return f"{held} {'message is' if held == 1 else 'messages are'} held until what comes before has come."

    @staticmethod
    def _payment_name(payment: Payment) -> str:
        return _CALLS[EffectKind.CORRECT if payment.is_correction else EffectKind.COMPLETE]

    def _money(self, value: Decimal | None) -> str:
        return "no amount" if value is None else money(value, self._till)


def money(value: Decimal, till: Till) -> str:
    """With the decimals of the currency, and its code."""
    return f"{digits(value, till)} {till.currency}"


def digits(value: Decimal, till: Till) -> str:
    return f"{value:,.{till.decimals}f}" if -value.as_tuple().exponent <= till.decimals else amount(value)  # type: ignore[operator]  # amounts are finite


def day(at: datetime) -> str:
    return f"{at.day} {at:%b %Y}"


def minute(at: datetime) -> str:
    return f"{day(at)}, {at:%H:%M} UTC"
