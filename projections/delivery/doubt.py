"""Calls in doubt: those that may have been carried out without anybody having told us.

As long as the third party surely remembers a call's key, it may be sent again: it is the same call. Past that the
order is looked up first, and what is found decides. We are the only ones who change an order there, and only in the
order of its calls.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, assert_never

from domain.effects import EffectKind
from domain.errors import BadInstant
from domain.exact_json import loads
from domain.instants import parse_instant
from projections.delivery.ports import Answer, Attempt, AttemptKind, Call, Found, NotFound, Outcome
from projections.resolution import EXACT, Resolution

KEY_MARGIN_TIMEOUTS: Final = 10
KEY_MARGIN_SHARE: Final = 0.05
"""How long a request may be under way, and how far two clocks may differ: a proxy can keep it in its queue for
longer than we wait for the answer, and it is carried out all the same."""
_MAYBE_DONE: Final = {Outcome.DELIVERED, Outcome.IN_DOUBT, Outcome.IN_FLIGHT}
_MAYBE_DONE_STATUSES: Final = {500, 502, 504}
"""Whoever answers so may have failed after the work was done, or not know what became of it (RFC 9110, 15.6)."""


class DoubtRuling(StrEnum):
    DELIVERED = "delivered"
    """The call was carried out."""
    SEND_AGAIN = "send_again"
    """It surely was not."""
    PARK = "park"
    """It can't be told."""


@dataclass(frozen=True, slots=True)
class DoubtFinding:
    """What follows from a lookup."""

    ruling: DoubtRuling
    found: str
    """In words."""


def trusted_key_seconds(retention_seconds: float, call_timeout_seconds: float) -> float:
    """How long after its first sending a call may be sent again without a lookup: as long as it gets there, by
    whatever way, while the third party remembers its key. 0: never."""
    margin_seconds = max(KEY_MARGIN_TIMEOUTS * call_timeout_seconds, KEY_MARGIN_SHARE * retention_seconds)
    return max(0.0, retention_seconds - margin_seconds)


def settle_doubt(
    call: Call, lookup: Found | NotFound, later: Iterable[Call] = (), resolution: Resolution = EXACT
) -> DoubtFinding:
    """Whether a call was carried out, by what the third party has of its order.

    `later`: the order's next calls that may have been carried out as well. If one of them was, so was this.
    """
    if isinstance(lookup, NotFound):
        ruling = DoubtRuling.SEND_AGAIN if call.kind is EffectKind.CREATE else DoubtRuling.PARK
        return DoubtFinding(ruling, "no such order")
    words = f"{lookup.status} with {lookup.cashback_amount} of {lookup.last_transaction_date}"
    try:
        found = _State(lookup.status, lookup.cashback_amount, parse_instant(lookup.last_transaction_date))
    except BadInstant:
        return DoubtFinding(DoubtRuling.PARK, words)
    if any(_was_carried_out(each, found, resolution) for each in (call, *later)):
        return DoubtFinding(DoubtRuling.DELIVERED, words)
    return DoubtFinding(
        DoubtRuling.SEND_AGAIN if _was_not_carried_out(call, found, resolution) else DoubtRuling.PARK, words
    )


@dataclass(frozen=True, slots=True)
class _State:
    status: str
    amount: Decimal
    last_instant_ns: int


def _was_carried_out(call: Call, found: _State, resolution: Resolution) -> bool:
    instant_ns, amount = _said(call)
    is_amount = resolution.is_same_amount(amount, found.amount)
    is_reached = resolution.has_reached(found.last_instant_ns, instant_ns)
    match call.kind:
        case EffectKind.CREATE | EffectKind.UPDATE:
            return found.status == "PENDING" and is_amount and is_reached
        case EffectKind.CANCEL:
            return found.status == "CANCELLED"
        case EffectKind.COMPLETE:
            return found.status == "COMPLETED" and is_amount
        case EffectKind.CORRECT:
            return found.status == "COMPLETED" and is_amount and is_reached
        case _:
            assert_never(call.kind)


def _was_not_carried_out(call: Call, found: _State, resolution: Resolution) -> bool:
    """An order that is there was created; one that a later date has reached may be another call's work."""
    instant_ns, amount = _said(call)
    if resolution.is_past(found.last_instant_ns, instant_ns):
        return False
    match call.kind:
        case EffectKind.CREATE:
            return False
        case EffectKind.UPDATE | EffectKind.CANCEL:
            return found.status == "PENDING"
        case EffectKind.COMPLETE:
            is_amount = resolution.is_same_amount(amount, found.amount)
            return found.status == "PENDING" and is_amount  # else it would be refused
        case EffectKind.CORRECT:
            return found.status == "COMPLETED"
        case _:
            assert_never(call.kind)


def _said(call: Call) -> tuple[int, Decimal | None]:
    body = loads(call.body)
    amount = body.get("cashbackAmount")
    return parse_instant(body["transactionDate"]), None if amount is None else Decimal(amount)


def maybe_done_after(attempts: Sequence[Attempt], *, before: bool) -> bool:
    """Whether a call may have been carried out, after these further attempts at it.

    A call that was sent after a lookup had surely not been carried out before.
    """
    maybe_done = looked_up = False
    for attempt in attempts:
        if attempt.kind is AttemptKind.LOOKUP:
            looked_up = True
        else:
            before = before and not looked_up
            maybe_done = maybe_done or _is_doubtful(attempt.answer)
    return before or maybe_done


def _is_doubtful(answer: Answer) -> bool:
    return answer.outcome in _MAYBE_DONE or answer.status in _MAYBE_DONE_STATUSES
