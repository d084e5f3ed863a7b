"""Orders that stand still: what retrying them, or skipping their call, means (it is done in postgres/parking.py).

A retry makes the order's next call due at once, with all its attempts, whether it is parked or waits for its next
attempt. A skip gives up the call at which a parked order stands, and the order goes on with its later calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from adapters.records.errors import AnotherCall, NotPossible, StillDoubtful, UnderWay
from adapters.records.operators import ActionKind
from domain.effects import EffectKind
from domain.exact_json import InvalidJson, loads
from projections.delivery.ports import Call
from projections.doubt_marks import DOUBTFUL
from projections.intended_calls import path_of
from projections.reconciliation import BROKEN
from projections.republication import CallState


class DeliveryCursor(Protocol):
    """See adapters.postgres.delivery_cursors."""

    @property
    def order_id(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def parked_reason(self) -> str | None: ...
    @property
    def next_attempt_at(self) -> datetime: ...
    @property
    def is_under_way(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """A call that is not settled."""

    call: Call
    state: CallState
    attempts: int
    maybe_done: bool
    """True if it may have been carried out."""
    first_sent_at: datetime | None

    @property
    def amount(self) -> Decimal | None:
        return amount_of(self.call)


def amount_of(call: Call) -> Decimal | None:
    """What the body says."""
    try:
        said = loads(call.body).get("cashbackAmount")
    except (InvalidJson, AttributeError):
        return None
    return Decimal(said) if isinstance(said, int | Decimal) else None


@dataclass(frozen=True, slots=True)
class ParkingReport:
    """What was done, or, with `dry_run`, what would be. `calls` are as they were before: the one that it is about,
    and those that follow."""

    kind: ActionKind
    order_id: int
    dry_run: bool
    state_before: str
    state_after: str
    parked_reason: str | None
    calls: Sequence[WaitingCall]
    warnings: Sequence[str]


def retried(cursor: DeliveryCursor, calls: Sequence[WaitingCall], *, dry_run: bool = False) -> ParkingReport:
    """Raises NotPossible, UnderWay or StillDoubtful if there is nothing to retry at this moment."""
    if cursor.parked_reason == DOUBTFUL:
        raise StillDoubtful(cursor.order_id)
    if cursor.state == "idle":
        raise NotPossible(cursor.order_id, cursor.state, "no call of it waits")
    if cursor.state == "in_flight":
        raise UnderWay(cursor.order_id, cursor.next_attempt_at)
    after = "due" if calls else "idle"
    warnings = []
    if cursor.parked_reason is not None and cursor.parked_reason.startswith(BROKEN):
        warnings.append(f"{cursor.parked_reason}: unless it was repaired, the order is stopped again")
    return ParkingReport(
        ActionKind.RETRY, cursor.order_id, dry_run, cursor.state, after, cursor.parked_reason, calls, warnings
    )


def skipped(
    cursor: DeliveryCursor, calls: Sequence[WaitingCall], version: int | None = None, *, dry_run: bool = False
) -> ParkingReport:
    """With a `version` only that call is given up. Raises NotPossible, UnderWay or AnotherCall."""
    if cursor.state != "parked":
        raise NotPossible(cursor.order_id, cursor.state, "only a call at which an order is parked can be skipped")
    if not calls:
        raise NotPossible(cursor.order_id, cursor.state, "no call of it waits; a retry lets it go")
    if cursor.is_under_way:
        raise UnderWay(cursor.order_id, cursor.next_attempt_at)
    head, *later = calls
    if version is not None and version != head.call.version:
        raise AnotherCall(cursor.order_id, version, head.call.version)
    after = "due" if later else "idle"
    warnings = skip_warnings(head, later)
    return ParkingReport(
        ActionKind.SKIP, cursor.order_id, dry_run, cursor.state, after, cursor.parked_reason, calls, warnings
    )


def skip_warnings(head: WaitingCall, later: Sequence[WaitingCall]) -> list[str]:
    """What becomes of the order at the third party if this call is given up."""
    warnings = []
    if head.maybe_done:
        warnings.append("the call may have been carried out: to skip it doesn't take it back")
    end = next((each for each in later if each.call.kind is EffectKind.COMPLETE), None)
    match head.call.kind:
        case EffectKind.CREATE if later:
            warnings.append("without the create the third party doesn't know the order, and refuses what follows")
        case EffectKind.CREATE:
            warnings.append("the third party never hears of the order")
        case EffectKind.UPDATE if end is not None and not _is_updated(later):
            warnings.append(
                f"the third party keeps the amount before; a completion with {_amount(end)} may be refused"
            )
        case EffectKind.UPDATE if not _is_updated(later):
            warnings.append(f"the third party keeps the amount before, instead of {_amount(head)}")
        case EffectKind.COMPLETE if _is_corrected(later):
            warnings.append(f"the buyer isn't paid {_amount(head)}, and the corrections that follow are refused")
        case EffectKind.COMPLETE:
            warnings.append(f"the buyer isn't paid {_amount(head)} by the third party")
        case EffectKind.CORRECT if not _is_corrected(later):
            warnings.append(f"the buyer keeps the amount before, instead of {_amount(head)}")
        case EffectKind.CANCEL:
            warnings.append("the cashback stays open at the third party")
        case _:
            pass
    return warnings


def _is_updated(later: Sequence[WaitingCall]) -> bool:
    """An update carries the whole new amount."""
    return any(each.call.kind is EffectKind.UPDATE for each in later)


def _is_corrected(later: Sequence[WaitingCall]) -> bool:
    """A correction, too, carries the whole amount."""
    return any(each.call.kind is EffectKind.CORRECT for each in later)


def _amount(waiting: WaitingCall) -> str:
    return "an unknown amount" if waiting.amount is None else f"{waiting.amount:f}"


def call_as_json(call: Call) -> dict[str, Any]:
    """For `domain.exact_json.dumps`; without the body."""
    method, path = path_of(call.kind, call.order_id)
    return {"version": call.version, "kind": call.kind, "method": method, "path": path, "key": call.key}
