"""Orders in every state in which a verdict finds them, without a database."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from adapters.presentation.order_standing import OrderStanding, Payment
from adapters.records.calls import DeliveryRow, DeliveryState
from adapters.records.differences import DifferenceRow
from adapters.records.status import Outage
from domain.effects import EffectKind
from domain.lifecycle import Status
from projections.reconciliation import BookEntry, Verdict
from projections.republication import CallState

ORDER_ID: Final = 24_323_523
EARNED: Final = Decimal("7.50")
AT: Final = datetime(2025, 2, 28, 12, 4, tzinfo=UTC)
DOWN: Final = Outage("the third party is down: status 503", AT)
LOCKED_OUT: Final = Outage("the third party refuses our credentials", AT)

DELIVERIES: Final[Mapping[str, tuple[DeliveryState, str | None, CallState | None]]] = {
    "behind": ("idle", None, None),
    "due": ("due", None, CallState.DUE),
    "in flight": ("in_flight", None, CallState.DUE),
    "retrying": ("retrying", None, CallState.RETRYING),
    "in doubt": ("retrying", None, CallState.IN_DOUBT),
    "refused": ("parked", "refused with status 422", CallState.PARKED),
    "spent": ("parked", "50 attempts failed; the last: 503", CallState.PARKED),
    "unknown": ("parked", "the key may be forgotten, and lookups are switched off", CallState.PARKED),
    "held back": ("parked", "doubtful", CallState.PARKED),
    "broken": ("parked", "invariant: created_once", CallState.PARKED),
}
"""How the calls of an order stand that aren't all settled: the cursor, why it is parked, and the first call."""
MAYBE_DONE: Final = {"in doubt", "unknown"}
"""Of those, where the first call may have been carried out."""
SETTLED: Final = "settled"


def standing(status: Status, delivery: str = SETTLED, **more: Any) -> OrderStanding:
    """Of an order that earns EARNED, with its last call as it stands; `more` are fields of the standing."""
    created = status is not Status.NOT_CREATED
    state, reason, call = DELIVERIES.get(delivery, ("idle", None, CallState.DELIVERED))
    head = _LAST_CALL[status] if delivery in DELIVERIES and created else None
    is_paid = call is CallState.DELIVERED
    maybe = delivery in MAYBE_DONE
    paid = Payment(EARNED, call, is_paid=is_paid, paid_at=AT if is_paid else None, may_be_done=maybe)
    row = DeliveryRow(state, 2, 1 if head else 2, 3, AT, AT if state == "parked" else None, reason)
    fields: dict[str, Any] = {
        "order_id": ORDER_ID,
        "status": status,
        "cashback": EARNED if created else None,
        "ended_at": AT if status in {Status.COMPLETED, Status.CANCELLED} else None,
        "payments": [paid] if status is Status.COMPLETED else [],
        "delivery": row if created else None,
        "head": head,
        "is_head_in_doubt": head is not None and maybe,
    }
    return OrderStanding(**fields | more)


_LAST_CALL: Final = {
    Status.PENDING: EffectKind.UPDATE,
    Status.COMPLETED: EffectKind.COMPLETE,
    Status.CANCELLED: EffectKind.CANCEL,
    Status.NOT_CREATED: None,
}


def difference(verdict: Verdict, ours: BookEntry | None, theirs: BookEntry | None) -> DifferenceRow:
    return DifferenceRow(1, ORDER_ID, verdict, ours, theirs, None, AT, AT, None)
