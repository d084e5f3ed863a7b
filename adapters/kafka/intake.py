"""Intake: a batch of records becomes one batch of decisions, stored in one transaction with the positions.

No clock of Kafka's, no committed offset and no call to the third party has a part in it: what is stored follows
from the records and from what is stored already.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from adapters.kafka.decoder import DEFAULT_MAX_MESSAGE_BYTES, Unreadable, decode
from adapters.kafka.losses import Place, places
from adapters.kafka.records import Record
from domain.decision import DEFAULT_POLICY, Policy, handle
from domain.events import OrderEvent
from domain.messages import Message
from domain.order import Order
from domain.ports import (
    Advance,
    Batch,
    Loss,
    OrderStore,
    Partition,
    Position,
    Quarantined,
    StaleOrder,
    StoreUnavailable,
)

Read = tuple[Record, Message | Unreadable]
"""A record, and what it says."""

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
        self._leader_epochs: dict[Partition, int | None] = {}
        self._cache: OrderedDict[int, Order] = OrderedDict()

    def assign(self, partitions: Iterable[Partition]) -> dict[Partition, Place]:
        """Takes charge of partitions, named by Kafka's ids of their topics, and tells where to go on in which log.

        Not of those that must not be read because messages may be lost. Raises StoreUnavailable.
        """
        partitions = list(partitions)
        found = places(partitions, self._store.positions({partition.topic for partition in partitions}))
        for place in found.values():
            if place.stop is None:
                position = place.position
                self._positions[place.log] = None if position is None else position.next_offset
                self._leader_epochs[place.log] = None if position is None else position.leader_epoch
        return found

    def revoke(self, logs: Iterable[Partition]) -> None:
        for log in logs:
            self._positions.pop(log, None)
            self._leader_epochs.pop(log, None)

    def stop(self, log: Partition, position: int, loss: Loss) -> None:
        """Notes that messages may be lost, over a restart. Raises Fenced or StoreUnavailable."""
        self._store.stop(log, position, loss)

    def positions_of(self, topic: str) -> Mapping[Partition, Position]:
        """In all topics of this name, whoever reads them. Raises StoreUnavailable."""
        return self._store.positions([topic])

    @property
    def positions(self) -> Mapping[Partition, int | None]:
        """Of the logs that we have charge of; None: nothing was read yet."""
        return self._positions

    @property
    def leader_epochs(self) -> Mapping[Partition, int | None]:
        """Of the last messages read, as far as they are known."""
        return self._leader_epochs

    def read(self, records: Iterable[Record]) -> list[Read]:
        """What the records say. Looks at nothing else, so it may run while a batch is being stored."""
        return [(record, decode(record, max_message_bytes=self._limits.max_message_bytes)) for record in records]

    def handle(self, records: Iterable[Record]) -> Outcome:
        """Reads the records, and stores what is decided about them."""
        return self.store(self.read(records))

    def store(self, read: Iterable[Read]) -> Outcome:
        """Decides about the records, in the order given, and stores the outcome; all or nothing.

        Records of partitions that aren't ours, and those below the position, are passed over.
        Raises Fenced or StoreUnavailable: then the caller must assign its partitions anew and read them again.
        """
        decoded = [(record, message) for record, message in read if self._is_next(record)]
        if not decoded:
            return Outcome()
        advances = self._advances(record for record, _ in decoded)
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
            self._leader_epochs |= {advance.partition: advance.leader_epoch for advance in advances}
            self._remember(orders)
            return outcome
        raise StoreUnavailable(f"other processes changed this batch's orders {MAX_DECIDING_ROUNDS} times running")

    def _is_next(self, record: Record) -> bool:
        if record.partition not in self._positions:
            return False
        position = self._positions[record.partition]
        return position is None or record.offset >= position

    def _advances(self, records: Iterable[Record]) -> list[Advance]:
        last = {record.partition: record for record in records}
        return [
            Advance(partition, self._positions[partition], record.offset + 1, record.leader_epoch)
            for partition, record in sorted(last.items())
        ]

    def _load(self, order_ids: set[int]) -> dict[int, Order]:
        orders = {order_id: self._cache[order_id] for order_id in order_ids if order_id in self._cache}
        missing = sorted(order_ids - orders.keys())
        if missing:
            orders |= self._store.load(missing)
        return orders

    def _decide(
        self, decoded: Iterable[Read], orders: dict[int, Order]
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
                decided, after = handle(order, found, now_ns=now_ns, policy=self._policy)
                if order.version + len(decided) <= self._limits.max_order_events or not decided:
                    for event in decided:
                        outcome.decisions[event.TOPIC] += 1
                    if not decided:
                        outcome.decisions["repeat"] += 1
                    events += decided
                    orders[found.order_id] = after
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
