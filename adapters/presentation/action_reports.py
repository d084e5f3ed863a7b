"""Reports of actions, of what was done or would be, as API, console and command line show them.

Each is for `domain.exact_json.dumps`.
"""

from decimal import Decimal
from typing import Any, Final

from adapters.operations.interventions import InterventionReport
from adapters.operations.quarantine import QuarantineReport
from adapters.operations.replay import ReplayReport
from adapters.records.parking import ParkingReport, WaitingCall, amount_of, call_as_json
from domain.events import MessageEvent
from domain.instants import format_instant
from domain.order import Order

MAX_SHOWN_CALLS: Final = 100
"""Of those behind the first one."""


def parking_view(report: ParkingReport) -> dict[str, Any]:
    first, *later = report.calls or (None,)
    return {
        "orderId": report.order_id,
        "action": report.kind,
        "dryRun": report.dry_run,
        "stateBefore": report.state_before,
        "stateAfter": report.state_after,
        "parkedReason": report.parked_reason,
        "call": None if first is None else _waiting_call(first),
        "follows": [_waiting_call(each) for each in later[:MAX_SHOWN_CALLS] if each is not None],
        "followCount": len(later),
        "warnings": list(report.warnings),
    }


def _waiting_call(waiting: WaitingCall) -> dict[str, Any]:
    return call_as_json(waiting.call) | {
        "state": waiting.state,
        "attempts": waiting.attempts,
        "firstSentAt": waiting.first_sent_at,
        "cashbackAmount": waiting.amount,
    }


def intervention_view(report: InterventionReport) -> dict[str, Any]:
    return {
        "orderId": report.before.order_id,
        "action": report.kind,
        "dryRun": report.dry_run,
        "statusBefore": report.before.status,
        "statusAfter": report.after.status,
        "cashbackBefore": _cashback(report.before),
        "cashbackAfter": _cashback(report.after),
        "doubts": [
            {
                "doubt": each.doubt,
                "version": each.version,
                "since": format_instant(each.since_ns),
                "atStake": each.at_stake,
            }
            for each in report.doubts
        ],
        "givenUp": list(report.given_up),
        "closed": report.closed,
        "events": [
            {
                "version": event.originator_version,
                "event": event.TOPIC,
                "type": event.message.kind if isinstance(event, MessageEvent) else None,
            }
            for event in report.events
        ],
        "calls": [
            call_as_json(call) | {"cashbackAmount": amount_of(call)} for call in report.calls[:MAX_SHOWN_CALLS]
        ],
        "callCount": len(report.calls),
        "warnings": list(report.warnings),
    }


def _cashback(order: Order) -> Decimal | None:
    return order.terms.cashback if order.terms else None


def quarantine_report_view(report: QuarantineReport) -> dict[str, Any]:
    """A message without decisions was known already."""
    message = report.message
    return {
        "id": report.quarantine_id,
        "action": report.kind,
        "dryRun": report.dry_run,
        "stateBefore": "open",
        "stateAfter": report.state_after,
        "orderId": message.order_id if message else None,
        "type": message.kind if message else None,
        "transactionDate": message.transaction_date if message else None,
        "isRepeat": message is not None and not report.events,
        "decisions": [
            {"version": event.originator_version, "event": event.TOPIC, "type": event.message.kind}
            for event in report.events
        ],
    }


def replay_view(report: ReplayReport) -> dict[str, Any]:
    return {
        "replayId": report.replay_id,
        "orderId": report.order_id,
        "mode": report.mode,
        "dryRun": report.dry_run,
        "how": report.options.how if report.options else None,
        "nonce": report.options.nonce if report.options else None,
        "include": sorted(report.options.include) if report.options else [],
        "amountAtRisk": report.amount_at_risk,
        "items": report.items,
        "suppressed": report.suppressed,
    }
