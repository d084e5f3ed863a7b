"""The first thing that is said of an order: what was paid, what is owed, and what a person has to do about it.

One pure function of what is on record. The API, the console and the command line all show what it says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from adapters.presentation.order_standing import OrderStanding
from adapters.presentation.verdict_words import DOWN, Sum, Tone, VerdictCode, VerdictWords
from adapters.records.differences import DifferenceRow
from adapters.records.money_may_be_wrong import Case, CaseKind, NextStep, next_step
from domain.money import Till
from projections.reconciliation import Verdict


@dataclass(frozen=True, slots=True)
class OrderVerdict:
    """What is said of an order. Sentences are plain text; moments are UTC."""

    code: VerdictCode
    tone: Tone
    sentence: str
    amount: Decimal
    """The sum that the sentence is about: paid, owed, or at stake."""
    detail: str
    sums: Sequence[Sum]
    comparison: str
    """When the books were last compared, and what came of it."""
    step: NextStep | None
    action: str
    """What the step's button says; empty without a step."""
    runbook: str
    """Of docs/runbooks: a page, and a heading on it where there is one."""


def verdict(order: OrderStanding, till: Till) -> OrderVerdict:
    """Tested for every state of an order with every state of its calls, with and without doubts, differences and an
    outage (tests/unit/presentation/test_verdict.py)."""
    words = VerdictWords(order, till)
    said = words.say()
    step, action = _step(order, said.code)
    tone: Tone = "warn" if said.tone in {"ok", "wait"} and order.unread is not None else said.tone
    unread = "A message that names this order can't be read." if order.unread is not None else ""
    return OrderVerdict(
        said.code,
        tone,
        said.sentence,
        said.amount,
        " ".join(part for part in (said.detail, unread) if part),
        words.sums(said.code),
        words.comparison(),
        step,
        action,
        _runbook(order, said.code),
    )


def _step(order: OrderStanding, code: VerdictCode) -> tuple[NextStep | None, str]:
    """What a person does next, and what its button says."""
    if order.difference is not None and code is VerdictCode.BOOKS_DIFFER:
        return _step_after_difference(order.order_id, order.difference)
    kind, action = _case(order, code)
    if kind is None:
        return None, ""
    case = Case(kind, order.order_id, None, None, order.parked_reason, order.unread, (kind,))
    step = next_step(case)
    return (None, "") if step.page == f"/orders/{order.order_id}" else (step, action)


def _step_after_difference(order_id: int, difference: DifferenceRow) -> tuple[NextStep, str]:
    redeliver, says = f"replay {order_id} --mode redeliver", "send the calls again, with the same keys"
    page = f"/orders/{order_id}/replay?mode=redeliver"
    if difference.verdict is Verdict.MISSING_THERE:
        return NextStep(says, redeliver, f"POST /api/orders/{order_id}/replay", page), "Redeliver…"
    says = "compare again, and ask the third party what it has booked"
    page = f"/reconciliation/compare?orders={order_id}"
    return NextStep(says, f"reconcile {order_id}", f"GET /api/orders/{order_id}", page), "Compare again…"


def _case(order: OrderStanding, code: VerdictCode) -> tuple[CaseKind | None, str]:
    if code is VerdictCode.STOPPED:
        return None, ""
    if code is VerdictCode.NEEDS_DECISION:
        return CaseKind.DOUBTFUL, "Settle…"
    if order.is_parked:
        return CaseKind.PARKED, "Retry…"
    if order.held:
        return CaseKind.HELD, "Release…"
    if order.unread is not None:
        return CaseKind.QUARANTINED, "Open the message"
    return None, ""


def _runbook(order: OrderStanding, code: VerdictCode) -> str:
    match code:
        case VerdictCode.STOPPED if order.missing_versions:
            return "reconcile.md#a-stream-that-has-lost-events"
        case VerdictCode.STOPPED | VerdictCode.BOOKS_DIFFER:
            return "reconcile.md"
        case VerdictCode.NEEDS_DECISION:
            return "doubtful.md#settle"
        case _ if order.is_parked:
            return "parked.md"
        case _ if order.held:
            return "doubtful.md#release"
        case _ if order.unread is not None:
            return "parked.md#messages-in-quarantine"
        case VerdictCode.NOT_PAID:
            return "redeliver.md"
        case VerdictCode.OWED if order.outage is not None:
            is_down = order.outage.reason.startswith(DOWN)
            return "alerts.md#cashbackcallsheld" if is_down else "alerts.md#cashbackcredentialsrefused"
        case _:
            return "wrong-order.md"
