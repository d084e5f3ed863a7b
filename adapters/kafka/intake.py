"""Intake: a batch of records becomes one batch of decisions, stored in one transaction with the positions.

No clock of Kafka's, no committed offset and no call to the third party has a part in it: what is stored follows
from the records and from what is stored already.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.kafka.decoder import DEFAULT_MAX_MESSAGE_BYTES, Unreadable, decode
from adapters.kafka.records import Record
from domain.decision import DEFAULT_POLICY, Policy, decide
from domain.events import OrderEvent
from domain.messages import Message
from domain.order import Order, fold
from domain.ports import Advance, Batch, OrderStore, Partition, Quarantined, StaleOrder, StoreUnavailable

MAX_DECIDING_ROUNDS: Final = 5
"""How often a batch is decided anew because other processes keep adding to its orders."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message, one order and the memory may take."""

    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    max_order_events: int = 1000
    max_cached_orders: int = 20_000


@dataclass(slots=True)
class Outcome:
    """What became of a batch's records."""

    records: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    """By the event's name; `repeat` for a message that was known already."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """By reason."""


class Intake:
    """Decides batches. Not for use by several threads at once."""

    def __init__(
        self,
        store: OrderStore,
        *,
        policy: Policy = DEFAULT_POLICY,
        limits: Limits | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._policy = policy
        self._limits = limits or Limits()
        self._clock_ns = clock_ns
        self._positions: dict[Partition, int | None] = {}
        self._cache: OrderedDict[int, Order] = OrderedDict()

    def assign(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]:
        """Takes charge of partitions and tells where to go on reading; None: from the beginning.

        Raises StoreUnavailable.
        """
        partitions = list(partitions)
        stored = self._store.positions(partitions)
        placed = {partition: stored.get(partition) for partition in partitions}
        self._positions |= placed
        return placed

    def revoke(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._positions.pop(partition, None)

    @property
    def positions(self) -> Mapping[Partition, int | None]:
        return self._positions

    def handle(self, records: Sequence[Record]) -> Outcome:
        """Decides about the records, in the order given, and stores the outcome; all or nothing.

        Records of partitions that aren't ours, and those below the position, are passed over.
        Raises Fenced or StoreUnavailable: then the caller must assign its partitions anew and read them again.
        """
        records = [record for record in records if self._is_next(record)]
        if not records:
            return Outcome()
        decoded = [(record, decode(record, max_message_bytes=self._limits.max_message_bytes)) for record in records]
        advances = self._advances(records)
        for _ in range(MAX_DECIDING_ROUNDS):
            orders = self._load({each.order_id for _, each in decoded if isinstance(each, Message)})
            outcome, events, quarantined = self._decide(decoded, orders)
            try:
                self._store.commit(Batch(events, quarantined, advances))
            except StaleOrder:
                for order_id in orders:
                    self._cache.pop(order_id, None)
                continue
            self._positions |= {advance.partition: advance.next_offset for advance in advances}
            self._remember(orders)
            return outcome
        raise StoreUnavailable(f"other processes changed this batch's orders {MAX_DECIDING_ROUNDS} times running")

    def _is_next(self, record: Record) -> bool:
        if record.partition not in self._positions:
            return False
        position = self._positions[record.partition]
        return position is None or record.offset >= position

    def _advances(self, records: Iterable[Record]) -> list[Advance]:
        last = {record.partition: record.offset for record in records}
        return [
            Advance(partition, self._positions[partition], offset + 1) for partition, offset in sorted(last.items())
        ]

    def _load(self, order_ids: set[int]) -> dict[int, Order]:
        orders = {order_id: self._cache[order_id] for order_id in order_ids if order_id in self._cache}
        missing = sorted(order_ids - orders.keys())
        if missing:
            orders |= self._store.load(missing)
        return orders

    def _decide(
        self, decoded: Iterable[tuple[Record, Message | Unreadable]], orders: dict[int, Order]
    ) -> tuple[Outcome, list[OrderEvent], list[Quarantined]]:
        """Moves `orders` on to where the decisions leave them."""
        outcome = Outcome()
        events: list[OrderEvent] = []
        quarantined: list[Quarantined] = []
        now_ns = self._clock_ns()
        for record, message in decoded:
            outcome.records += 1
            found = message
            if isinstance(found, Message):
                order = orders[found.order_id]
                decided = decide(order, found, now_ns=now_ns, policy=self._policy)
                if order.version + len(decided) <= self._limits.max_order_events or not decided:
                    outcome.decisions.update([event.TOPIC for event in decided] or ["repeat"])
                    events += decided
                    orders[found.order_id] = fold(order, decided) or order
                    continue
                limit = self._limits.max_order_events
                found = Unreadable("order_full", f"the order has {limit} decisions already", found.order_id)
            outcome.quarantined[found.reason] += 1
            quarantined.append(_quarantined(record, found))
        return outcome, events, quarantined

    def _remember(self, orders: Mapping[int, Order]) -> None:
        for order_id, order in orders.items():
            self._cache[order_id] = order
            self._cache.move_to_end(order_id)
        while len(self._cache) > self._limits.max_cached_orders:
            self._cache.popitem(last=False)


def _quarantined(record: Record, why: Unreadable) -> Quarantined:
    return Quarantined(
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        key=record.key,
        value=record.value,
        headers=record.headers,
        order_id=why.order_id,
        reason=why.reason,
        detail=why.detail,
    )
