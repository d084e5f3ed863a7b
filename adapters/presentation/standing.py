"""From an order's record to what its verdict depends on, and from the verdict to the API's members."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from adapters.presentation.order_standing import OrderStanding, Payment
from adapters.presentation.schemas import VerdictView
from adapters.presentation.verdict import OrderVerdict
from adapters.presentation.views import difference_view, next_step_view
from adapters.records.calls import AttemptRow, CallRow
from adapters.records.orders import OrderRecord
from domain.effects import Effect, effect_of
from domain.events import CashbackCompleted, CashbackCorrected
from domain.instants import NANOSECONDS_PER_SECOND
from domain.money import Till
from domain.order import Cancelled, Completed, Order
from projections.delivery.ports import Outcome
from projections.orders import row_of
from projections.republication import CallState

_SETTLED: Final = {CallState.DELIVERED, CallState.SKIPPED}


def standing_of(order: Order, record: OrderRecord) -> OrderStanding:
    """`order` is folded from the record's events."""
    calls = {row.version: row for row in record.calls}
    head = _head(record, calls)
    stakes = [each.at_stake for each in order.open_doubts if each.at_stake is not None]
    unread = [row.id for row in record.quarantined if row.state == "open"]
    return OrderStanding(
        order_id=order.order_id,
        status=order.status,
        cashback=order.terms.cashback if order.terms else None,
        ended_at=_ended_at(order),
        payments=list(_payments(record, calls)),
        delivery=record.delivery,
        head=head.kind if head else None,
        is_head_in_doubt=head is not None and _may_be_done(calls.get(head.originator_version)),
        doubts=sorted(order.doubts),
        at_stake=max(stakes, key=abs, default=None),
        held=len(order.waiting),
        held_cashback=row_of(order).held_cashback,
        is_given_up=any(held.is_closed for held in order.held),
        missing_versions=bool(order.missing),
        unread=min(unread, default=None),
        last_comparison=record.last_comparison,
        difference=record.difference,
        outage=record.outage,
    )


def verdict_view(said: OrderVerdict, record: OrderRecord, till: Till) -> VerdictView:
    last, difference = record.last_comparison, record.difference
    return {
        "code": said.code,
        "sentence": said.sentence,
        "amount": said.amount,
        "currency": till.currency,
        "detail": said.detail,
        "sums": [{"name": each.name, "amount": each.amount, "at": each.at} for each in said.sums],
        "comparison": {
            "says": said.comparison,
            "at": difference.last_seen_at if difference else last.compared_at if last else None,
            "result": difference.verdict.value if difference else last.verdict.value if last else None,
            "difference": difference_view(difference) if difference else None,
        },
        "nextStep": next_step_view(said.step) if said.step else None,
        "runbook": said.runbook,
    }


def _ended_at(order: Order) -> datetime | None:
    stage = order.stage
    return _instant(stage.end.happened_at_ns) if isinstance(stage, Completed | Cancelled) else None


def _payments(record: OrderRecord, calls: dict[int, CallRow]) -> Iterable[Payment]:
    for event in record.events:
        if not isinstance(event, CashbackCompleted | CashbackCorrected):
            continue
        row = calls.get(event.originator_version)
        delivered = _delivered_at(record.attempts, event.originator_version)
        is_confirmed = row is not None and (row.was_delivered or row.state is CallState.DELIVERED)
        yield Payment(
            amount=event.cashback,
            state=_state(row),
            is_paid=is_confirmed or delivered is not None,
            paid_at=(row.settled_at if row and row.state is CallState.DELIVERED else None) or delivered,
            may_be_done=_may_be_done(row),
            is_correction=isinstance(event, CashbackCorrected),
            is_renewed=row is not None and row.generation > 0,
        )


def _delivered_at(attempts: Iterable[AttemptRow], version: int) -> datetime | None:
    """The first of those that are kept."""
    delivered = (each for each in attempts if each.version == version and each.outcome == Outcome.DELIVERED)
    return next((each.started_at for each in delivered), None)


def _head(record: OrderRecord, calls: dict[int, CallRow]) -> Effect | None:
    """The first call that isn't settled; also one that the ledger doesn't have yet."""
    for event in record.events:
        effect = effect_of(event)
        if effect is not None and _state(calls.get(event.originator_version)) not in _SETTLED:
            return effect
    return None


def _may_be_done(row: CallRow | None) -> bool:
    """Of a call that isn't settled, or was skipped."""
    if row is None or row.state is CallState.DELIVERED:
        return False
    return row.maybe_done or row.state is CallState.IN_DOUBT


def _state(row: CallRow | None) -> CallState | None:
    return None if row is None else row.state


def _instant(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns // NANOSECONDS_PER_SECOND, UTC)
