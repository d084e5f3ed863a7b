"""One order as it is shown: folded from its stream, with every decision and every call."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from adapters.presentation.decisions import decision_of, rule_of
from adapters.presentation.schemas import CallView, Delivery, MessageView, OrderView, TimelineEvent
from adapters.presentation.standing import standing_of, verdict_view
from adapters.presentation.verdict import verdict
from adapters.presentation.views import action_view, attempt_view, quarantine_summary, replay_summary
from adapters.records.calls import AttemptRow, CallRow, DeliveryRow
from adapters.records.orders import OrderRecord
from domain.effects import effect_of
from domain.events import (
    CashbackCompleted,
    CashbackCorrected,
    CashbackCreated,
    CashbackUpdated,
    MessageEvent,
    MessageRejected,
    OperatorEvent,
    OrderEvent,
    UpdateSuperseded,
)
from domain.exact_json import loads
from domain.instants import format_instant
from domain.money import Till
from domain.order import Order, fold
from projections.intended_calls import path_of
from projections.message_body import product_items

MAX_TIMELINE_END_EVENTS: Final = 500
"""So many of the first and of the last events are shown."""
MAX_HEADERS: Final = 20
MAX_HEADER_CHARACTERS: Final = 256


def order_view(record: OrderRecord, till: Till) -> OrderView:
    """The record has at least one event. `till`: intake's."""
    order = fold(None, record.events)
    assert order is not None
    terms = order.terms
    shown = _ends(record.events)
    return {
        "orderId": order.order_id,
        "verdict": verdict_view(verdict(standing_of(order, record), till), record, till),
        "status": order.status,
        "storeNo": terms.store_no if terms else None,
        "buyerId": terms.buyer_id if terms else None,
        "cashbackAmount": terms.cashback if terms else None,
        "items": _items_in_force(order, record.events),
        "doubts": sorted(order.doubts),
        "held": len(order.waiting),
        "rejected": order.rejected,
        "superseded": order.superseded,
        "version": order.version,
        "recordedAt": format_instant(order.recorded_at_ns),
        "delivery": _delivery(record.delivery),
        "timeline": _timeline(shown, record),
        "truncated": len(shown) < len(record.events),
        "omittedEvents": len(record.events) - len(shown),
        "quarantined": [quarantine_summary(row) for row in record.quarantined],
        "replays": [replay_summary(row) for row in record.replays],
        "actions": [action_view(row) for row in record.actions],
    }


def _ends(events: Sequence[OrderEvent]) -> Sequence[OrderEvent]:
    if len(events) <= 2 * MAX_TIMELINE_END_EVENTS:
        return events
    return [*events[:MAX_TIMELINE_END_EVENTS], *events[-MAX_TIMELINE_END_EVENTS:]]


def _items_in_force(order: Order, events: Sequence[OrderEvent]) -> list[dict[str, Any]]:
    """The product items of the message that the amount comes from, as received."""
    if order.terms is None:
        return []
    standing = order.terms.update or order.terms.created
    (event,) = (event for event in events if event.originator_version == standing.version)
    assert isinstance(event, MessageEvent)
    return [loads(bytes(item)) for item in product_items(event.message)]


def _delivery(row: DeliveryRow | None) -> Delivery:
    if row is None:
        return {
            "state": "idle",
            "headVersion": 0,
            "settledVersion": 0,
            "attempts": 0,
            "nextAttemptAt": None,
            "parkedAt": None,
            "parkedReason": None,
        }
    return {
        "state": row.state,
        "headVersion": row.head_version,
        "settledVersion": row.settled_version,
        "attempts": row.attempts,
        "nextAttemptAt": row.next_attempt_at if row.state in {"due", "retrying"} else None,
        "parkedAt": row.parked_at,
        "parkedReason": row.parked_reason,
    }


def _timeline(events: Sequence[OrderEvent], record: OrderRecord) -> list[TimelineEvent]:
    calls = {row.version: row for row in record.calls}
    attempts: dict[int, list[AttemptRow]] = defaultdict(list)
    for row in record.attempts:
        attempts[row.version].append(row)
    return [
        {
            "version": event.originator_version,
            "recordedAt": format_instant(event.recorded_at_ns),
            "event": event.TOPIC,
            "decision": decision_of(event),
            "rule": rule_of(event),
            "doubt": event.doubt if isinstance(event, MessageEvent) else None,
            "doubts": list(event.doubts) if isinstance(event, MessageEvent) else [],
            "atStake": event.at_stake if isinstance(event, MessageEvent) else None,
            "heldVersion": event.held_version if isinstance(event, MessageEvent) else None,
            "otherVersion": _other_version(event),
            "cashback": event.cashback
            if isinstance(event, CashbackCreated | CashbackUpdated | CashbackCompleted | CashbackCorrected)
            else None,
            "message": _message(event) if isinstance(event, MessageEvent) else None,
            "decidedBy": event.decided_by if isinstance(event, OperatorEvent) else None,
            "reason": event.reason if isinstance(event, OperatorEvent) else None,
            "call": _call(event, calls.get(event.originator_version), attempts[event.originator_version]),
        }
        for event in events
    ]


def _other_version(event: OrderEvent) -> int | None:
    """The event that stood in the message's way."""
    match event:
        case UpdateSuperseded():
            return event.superseded_by_version
        case MessageRejected():
            return event.against_version
        case _:
            return None


def _message(event: MessageEvent) -> MessageView:
    message = event.message
    return {
        "type": message.kind,
        "transactionId": message.transaction_id,
        "transactionDate": message.transaction_date,
        "effectiveAt": format_instant(event.effective_at_ns),
        "sequence": message.sequence,
        "identity": message.identity,
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "replay": message.replay,
        "headers": [(name, _header_text(value)) for name, value in message.headers[:MAX_HEADERS]],
    }


def _header_text(value: str | None) -> str | None:
    """The bytes, which stand here as Latin-1 text, read as UTF-8."""
    return None if value is None else value.encode("latin-1").decode("utf-8", "replace")[:MAX_HEADER_CHARACTERS]


def _call(event: OrderEvent, row: CallRow | None, attempts: Sequence[AttemptRow]) -> CallView | None:
    effect = effect_of(event)
    if effect is None:
        return None
    method, path = path_of(effect.kind, event.order_id)
    return {
        "kind": effect.kind,
        "method": method,
        "path": path,
        "idempotencyKey": row.key if row else effect.key,
        "generation": row.generation if row else 0,
        "state": row.state if row else "not_in_ledger",
        "attemptCount": row.attempts if row else 0,
        "firstSentAt": row.first_sent_at if row else None,
        "settledAt": row.settled_at if row else None,
        "attempts": [attempt_view(attempt) for attempt in attempts],
    }
