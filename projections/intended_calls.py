"""The projection that feeds delivery: from decisions to the calls that they ask for, with frozen bodies."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, assert_never, cast

from domain.effects import Effect, EffectKind, effect_of
from domain.events import Accepted, CashbackCompleted, CashbackCorrected, CashbackCreated, CashbackUpdated
from domain.exact_json import dumps
from domain.instants import format_instant
from domain.messages import Kind
from domain.money import ZERO
from projections.feed import Recorded
from projections.message_body import product_items

NAME: Final = "third-party"


@dataclass(frozen=True, slots=True)
class IntendedCall:
    """One row of the effect ledger."""

    order_id: int
    version: int
    effect: Effect
    body: bytes
    recorded_ns: int
    """When it was decided: nanoseconds since 1970."""
    cashback: Decimal
    """What the order earns from then on; zero of what was cancelled."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the body."""
        return sha256(self.body).digest()


def intended_calls(recorded: Sequence[Recorded]) -> list[IntendedCall]:
    """The calls that the events ask for, in the order of the events."""
    calls = []
    for each in recorded:
        effect = effect_of(each.event)
        if effect is not None:
            event = cast("Accepted", each.event)
            order_id = event.message.order_id
            body, earned = _body(effect.kind, event), getattr(event, "cashback", ZERO)
            calls.append(
                IntendedCall(order_id, event.originator_version, effect, body, event.recorded_at_ns, earned)
            )
    return calls


def path_of(kind: EffectKind, order_id: int) -> tuple[str, str]:
    """Method and path of a call (contract.md, section 2)."""
    match kind:
        case EffectKind.CREATE:
            return "POST", "/v1/cashbacks"
        case EffectKind.UPDATE:
            return "PUT", f"/v1/cashbacks/{order_id}"
        case EffectKind.CANCEL:
            return "POST", f"/v1/cashbacks/{order_id}/cancel"
        case EffectKind.COMPLETE:
            return "POST", f"/v1/cashbacks/{order_id}/complete"
        case EffectKind.CORRECT:
            return "POST", f"/v1/cashbacks/{order_id}/correct"
        case _:
            assert_never(kind)


def _body(kind: EffectKind, event: Accepted) -> bytes:
    """The body, from the event alone; the items as received, each number with its own digits."""
    message = event.message
    body: dict[str, Any] = {
        "orderId": message.order_id,
        "storeNo": message.store_no,
        "buyerId": message.buyer_id,
        "transactionId": message.transaction_id,
        "transactionDate": _stated_date(event),
    }
    if kind in {EffectKind.CANCEL, EffectKind.COMPLETE, EffectKind.CORRECT}:
        del body["storeNo"], body["buyerId"]
    if isinstance(event, CashbackCreated | CashbackUpdated | CashbackCompleted | CashbackCorrected):
        body["cashbackAmount"] = event.cashback
    if kind is EffectKind.CORRECT:
        body["reason"] = _why_corrected(event)
    if kind is EffectKind.CANCEL and message.reason is not None:
        body["reason"] = message.reason
    if kind in {EffectKind.CREATE, EffectKind.UPDATE}:
        body["items"] = product_items(message)
    return dumps(body)


def _why_corrected(event: Accepted) -> str:
    """For the third party's clerks; the shop's own words where it has some."""
    message = event.message
    match message.kind:
        case Kind.UPDATED if message.happened_at_ns < event.stated_at_ns:
            return "updated before completion, received after it"
        case Kind.UPDATED:
            return "updated after completion"
        case Kind.CANCELLED:
            return message.reason or "cancelled after completion"
        case Kind.COMPLETED:
            return "completed again"
        case Kind.CREATED:
            return "created again after completion"
        case _:
            assert_never(message.kind)


def _stated_date(event: Accepted) -> str:
    """As received, unless an earlier call of the order had a later date: then that one, so that the third party
    sees dates that never go backwards."""
    if event.stated_at_ns == event.message.happened_at_ns:
        return event.message.transaction_date
    return format_instant(event.stated_at_ns)
