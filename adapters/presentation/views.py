"""From what is known to what is shown."""

import base64

from adapters.presentation.schemas import (
    ActionView,
    AttemptView,
    BookEntryView,
    CaseView,
    DifferenceView,
    NextStepView,
    Octets,
    OrderSummary,
    ParkedCall,
    ParkedOrder,
    QuarantinedHeader,
    QuarantineSummary,
    QuarantineView,
    ReplaySummary,
)
from adapters.records.audit import ActionRow
from adapters.records.calls import AttemptRow, ParkedRow
from adapters.records.differences import DifferenceRow
from adapters.records.money_may_be_wrong import Case, NextStep, next_step
from adapters.records.orders import ReplayRow
from adapters.records.quarantine import NO_EDIT, Headers, QuarantinedMessage, QuarantineRow
from domain.events import Doubt
from domain.instants import format_instant
from projections.intended_calls import path_of
from projections.orders import OrderRow
from projections.reconciliation import BookEntry


def order_summary(row: OrderRow) -> OrderSummary:
    return {
        "orderId": row.order_id,
        "status": row.status,
        "storeNo": row.store_no,
        "buyerId": row.buyer_id,
        "cashbackAmount": row.cashback,
        "version": row.version,
        "held": row.held,
        "rejected": row.rejected,
        "superseded": row.superseded,
        "doubts": [Doubt(doubt) for doubt in row.doubts],
        "heldSince": _instant(row.held_since_ns),
        "atStake": row.at_stake,
        "doubtfulSince": _instant(row.doubtful_since_ns),
        "beganAt": _instant(row.began_at_ns),
        "recordedAt": format_instant(row.recorded_at_ns),
    }


def _instant(since_ns: int | None) -> str | None:
    return None if since_ns is None else format_instant(since_ns)


def attempt_view(row: AttemptRow) -> AttemptView:
    return {
        "startedAt": row.started_at,
        "durationMs": row.duration_ms,
        "outcome": row.outcome,
        "status": row.status,
        "answer": row.answer,
        "kind": row.kind,
    }


def parked_order(row: ParkedRow) -> ParkedOrder:
    return {
        "orderId": row.order_id,
        "parkedAt": row.parked_at,
        "reason": row.reason,
        "attempts": row.attempts,
        "call": _parked_call(row),
        "waitingCalls": row.waiting_calls,
        "cashbackAmount": row.cashback,
    }


def _parked_call(row: ParkedRow) -> ParkedCall | None:
    if row.kind is None or row.version is None or row.key is None:
        return None
    method, path = path_of(row.kind, row.order_id)
    return {
        "kind": row.kind,
        "method": method,
        "path": path,
        "version": row.version,
        "idempotencyKey": row.key,
        "lastAttempt": attempt_view(row.last_attempt) if row.last_attempt else None,
    }


def quarantine_summary(row: QuarantineRow) -> QuarantineSummary:
    return {
        "id": row.id,
        "topic": row.topic,
        "partition": row.partition,
        "offset": row.offset,
        "orderId": row.order_id,
        "reason": row.reason,
        "detail": row.detail,
        "state": row.state,
        "quarantinedAt": row.quarantined_at,
        "valueBytes": row.value_bytes,
    }


def quarantine_view(message: QuarantinedMessage) -> QuarantineView:
    return {
        **quarantine_summary(message.row),
        "topicId": message.topic_id,
        "timestampMs": message.timestamp_ms,
        "key": _octets(message.key),
        "value": _octets(message.value),
        "headers": _headers(message.headers),
        "closedAt": message.closed_at,
        "edited": None
        if message.edit == NO_EDIT
        else {
            "key": _octets(message.edit.key),
            "value": _octets(message.edit.value),
            "headers": None if message.edit.headers is None else _headers(message.edit.headers),
        },
    }


def _headers(headers: Headers) -> list[QuarantinedHeader]:
    return [{"name": name, "value": _octets(value)} for name, value in headers]


def _octets(value: bytes | None) -> Octets | None:
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = None
    return {"base64": base64.b64encode(value).decode(), "text": text}


def replay_summary(row: ReplayRow) -> ReplaySummary:
    return {
        "id": row.id,
        "mode": row.mode,
        "reason": row.reason,
        "requestedAt": row.requested_at,
        "items": row.items,
    }


def action_view(row: ActionRow) -> ActionView:
    return {
        "id": row.id,
        "at": row.done_at,
        "operator": row.operator,
        "role": row.role,
        "via": row.via,
        "action": row.kind,
        "reason": row.reason,
        "orderId": row.order_id,
        "version": row.version,
        "idempotencyKey": row.key,
        "stateBefore": row.state_before,
        "stateAfter": row.state_after,
        "bulkId": row.bulk_id,
        "quarantineId": row.quarantine_id,
        "detail": row.detail,
    }


def difference_view(row: DifferenceRow) -> DifferenceView:
    return {
        "id": row.id,
        "orderId": row.order_id,
        "class": row.verdict.value,  # type: ignore[typeddict-item]  # one that agrees is no difference
        "ours": book_entry_view(row.ours),
        "theirs": book_entry_view(row.theirs),
        "detail": row.detail,
        "firstSeenAt": row.first_seen_at,
        "lastSeenAt": row.last_seen_at,
        "closedAt": row.closed_at,
    }


def book_entry_view(standing: BookEntry | None) -> BookEntryView | None:
    return None if standing is None else {"status": standing.status, "cashbackAmount": standing.amount}


def case_view(case: Case) -> CaseView:
    return {
        "orderId": case.order_id,
        "kind": case.kind,
        "kinds": list(case.kinds),
        "amountAtStake": case.amount,
        "since": _instant(case.since_ns),
        "detail": case.detail,
        "quarantineId": case.quarantine_id,
        "nextStep": next_step_view(next_step(case)),
    }


def next_step_view(step: NextStep) -> NextStepView:
    return {"says": step.says, "command": step.command, "endpoint": step.endpoint}
