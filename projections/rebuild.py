"""Rebuilding: folding streams anew, and comparing with what the projections made of them.

Nothing here, and nothing that it imports, can call anybody: a rebuild only reads the event store.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from domain.identifiers import idempotency_key_by_version
from domain.lifecycle import Status
from domain.money import ZERO, total
from domain.order import Order, fold
from projections.feed import Recorded
from projections.intended_calls import IntendedCall, intended_calls
from projections.orders import OrderRow, row_of


@dataclass(frozen=True, slots=True)
class Positions:
    """How far each projection has read."""

    orders: int
    third_party: int


@dataclass(frozen=True, slots=True)
class LedgerCall:
    """A call as it lies in the effect ledger."""

    kind: str
    key: UUID
    """Its first one, if a person has given it another since."""
    digest: bytes
    """SHA-256 of the body."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a read model isn't what the events say."""

    order_id: int
    what: str


@dataclass(slots=True)
class RebuildCounts:
    """What a rebuild has found so far."""

    orders: int = 0
    events: int = 0
    by_status: Counter[Status] = field(default_factory=Counter)
    cashback: dict[Status, Decimal] = field(default_factory=dict)
    doubtful: int = 0

    def add(self, order: Order, events: int) -> None:
        self.orders += 1
        self.events += events
        self.by_status[order.status] += 1
        self.doubtful += bool(order.doubts)
        if order.terms is not None:
            self.cashback[order.status] = total((self.cashback.get(order.status, ZERO), order.terms.cashback))


def fold_stream(stream: Sequence[Recorded]) -> Order:
    """The order whose whole stream this is."""
    order = fold(None, (recorded.event for recorded in stream))
    assert order is not None, "a stream has at least one event"
    return order


def differences_of_row(stream: Sequence[Recorded], row: OrderRow | None, position: int) -> Iterable[Difference]:
    """Compares the read model's row with the stream. A row may be ahead of the position, never behind it."""
    order_id = stream[0].event.order_id
    due = max((each.event.originator_version for each in stream if each.notification_id <= position), default=0)
    if row is None:
        if due:
            yield Difference(order_id, "the read model lacks the order")
        return
    if row.version < due:
        yield Difference(order_id, f"the read model is at version {row.version} and should be at {due}")
    upto = [each for each in stream if each.event.originator_version <= row.version]
    if not upto or upto[-1].event.originator_version != row.version:
        yield Difference(order_id, f"the read model is at version {row.version}, which the stream hasn't got")
        return
    expected = row_of(fold_stream(upto))
    for name in OrderRow.__dataclass_fields__:
        if getattr(expected, name) != getattr(row, name):
            yield Difference(order_id, f"{name} differs from what the events say")


def differences_of_calls(
    stream: Sequence[Recorded], calls: Mapping[int, LedgerCall], position: int
) -> Iterable[Difference]:
    """Compares the effect ledger's calls, by version, with those that the events ask for."""
    order_id = stream[0].event.order_id
    asked = {call.version: call for call in intended_calls(stream)}
    reached = {each.event.originator_version for each in stream if each.notification_id <= position}
    for version, call in asked.items():
        kept = calls.get(version)
        if kept is None:
            if version in reached:
                yield Difference(order_id, f"the ledger lacks the call of version {version}")
            continue
        for is_right, what in (
            (kept.kind == call.effect.kind, "kind"),
            (kept.key in _rightful_keys(call), "key"),
            (kept.digest == call.digest, "body"),
        ):
            if not is_right:
                yield Difference(order_id, f"the ledger's call of version {version} has another {what}")
    for version in calls.keys() - asked.keys():
        yield Difference(order_id, f"the ledger has a call of version {version}, which no event asks for")


def _rightful_keys(call: IntendedCall) -> tuple[UUID, UUID]:
    """By content; or by version, as calls had it before that: a key that was used once stays with its call."""
    effect = call.effect
    return effect.key, idempotency_key_by_version(effect.originator_id, effect.originator_version)
