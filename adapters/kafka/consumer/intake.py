"""Intake: a batch of records becomes one batch of decisions, stored in one transaction with the positions.

No clock of Kafka's, no committed offset and no call to the third party has a part in it: what is stored follows
from the records and from what is stored already.
"""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from adapters.kafka.decoding.decoder import DEFAULT_MAX_MESSAGE_BYTES, Unreadable, decode
from adapters.kafka.decoding.record import Record
from domain.decision import DEFAULT_POLICY, Policy, handle
from domain.events import OrderEvent
from domain.intervention import format_numbers
from domain.losses import ResumePoint, resume_points
from domain.messages import Message
from domain.money import DEFAULT_TILL, Till
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


class End(NamedTuple):
    """The end of a log's readable part: all before it was read, or can never be."""

    partition: Partition
    next_offset: int
    leader_epoch: int | None
    """Of what lies before it, also if that can't be read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message, one order and the memory may take."""

    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    max_order_events: int = 1000
    max_cached_orders: int = 20_000


@dataclass(slots=True)
class BatchOutcome:
    """What became of a batch's records."""

    records: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    """By the event's name; `repeat` for a message that was known already."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """By reason."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What is decided about a batch of records, and not stored yet."""

    read: Sequence[Read]
    outcome: BatchOutcome
    orders: dict[int, Order]
    """Those that it is about, as they are afterwards."""
    batch: Batch
    began_ns: int
    """When deciding began, nanoseconds since 1970."""


class Intake:
    """Decides batches. For one thread, but for `commit`."""

    def __init__(
        self,
        store: OrderStore,
        *,
        policy: Policy = DEFAULT_POLICY,
        limits: Limits | None = None,
        till: Till = DEFAULT_TILL,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._policy = policy
        self._limits = limits or Limits()
        self._till = till
        self._clock_ns = clock_ns
        self._positions: dict[Partition, int | None] = {}
        self._leader_epochs: dict[Partition, int | None] = {}
        self._cache: OrderedDict[int, Order] = OrderedDict()
        self._ahead: list[Decided] = []
        self._reached: dict[Partition, int] = {}

    def assign(self, partitions: Iterable[Partition]) -> dict[Partition, ResumePoint]:
        """Takes charge of partitions, named by Kafka's ids of their topics, and tells where to go on in which log.

        Not of those that must not be read because messages may be lost. What was remembered of orders is forgotten
        with it: positions that aren't where we left them may be those of an earlier day. Raises StoreUnavailable.
        """
        assert not self._ahead, "what was decided is stored or undone first"
        partitions = list(partitions)
        found = resume_points(partitions, self._store.positions({partition.topic for partition in partitions}))
        for place in found.values():
            if place.stop is None:
                self._cache.clear()
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
    def set_back(self) -> Mapping[Partition, tuple[int | None, int]]:
        """Positions before what was stored here, and how far that was: the store has gone back in time."""
        return {
            log: (position, self._reached[log])
            for log, position in self._positions.items()
            if (position or 0) < self._reached.get(log, 0)
        }

    @property
    def leader_epochs(self) -> Mapping[Partition, int | None]:
        """Of the last messages read, as far as they are known."""
        return self._leader_epochs

    def read(self, records: Iterable[Record]) -> list[Read]:
        """What the records say. Looks at nothing else."""
        till, max_message_bytes = self._till, self._limits.max_message_bytes
        return [(record, decode(record, till=till, max_message_bytes=max_message_bytes)) for record in records]

    def handle(self, records: Iterable[Record]) -> BatchOutcome:
        """Reads the records, and stores what is decided about them."""
        return self.store(self.read(records))

    def store(self, read: Sequence[Read]) -> BatchOutcome:
        """Decides about the records, in the order given, and stores the outcome; all or nothing.

        Records of partitions that aren't ours, and those below the position, are passed over.
        Raises Fenced or StoreUnavailable: then the caller must assign its partitions anew and read them again.
        """
        for _ in range(MAX_DECIDING_ROUNDS):
            decided = self.decide(read)
            try:
                self.commit(decided)
            except StaleOrder:
                self.forget(decided)
                continue
            except BaseException:
                self.undo()
                raise
            self.settle(decided)
            return decided.outcome
        raise StoreUnavailable(f"other processes changed this batch's orders {MAX_DECIDING_ROUNDS} times running")

    # What `store` does, step by step: a batch may be decided while the one before it is being stored.

    def decide(self, read: Sequence[Read]) -> Decided:
        """Decides about the records as if all that was decided before were stored. Raises StoreUnavailable."""
        began_ns = time.time_ns()
        positions = dict(self._positions)
        for earlier in self._ahead:
            positions |= {advance.partition: advance.next_offset for advance in earlier.batch.advances}
        decoded, advances = _next(read, positions)
        orders = self._load({each.order_id for _, each in decoded if isinstance(each, Message)})
        outcome, events, quarantined = self._decide(decoded, orders)
        batch = Batch(events, quarantined, advances)
        decided = Decided(read, outcome, orders, self._store.prepare(batch), began_ns)
        self._ahead.append(decided)
        return decided

    def advance(self, ends: Iterable[End]) -> Decided | None:
        """Moves positions on to ends that were reached; None if all are there already.

        What a transaction leaves behind its messages, and what it aborts, has offsets and nothing to read: a
        position before them would lag for ever, and be taken for a loss once the log forgets them.
        """
        assert not self._ahead, "all that was read before an end is stored first"
        advances = [
            Advance(partition, self._positions[partition], next_offset, leader_epoch)
            for partition, next_offset, leader_epoch in ends
            if next_offset > (self._positions[partition] or 0)
        ]
        if not advances:
            return None
        batch = self._store.prepare(Batch([], [], advances))
        decided = Decided([], BatchOutcome(), {}, batch, time.time_ns())
        self._ahead.append(decided)
        return decided

    def commit(self, decided: Decided) -> None:
        """Stores it. The one step that may be done on another thread.

        Raises Fenced, StaleOrder or StoreUnavailable: then it, and all that was decided after it, must be undone.
        """
        if decided.batch.advances:
            self._store.commit(decided.batch)

    def settle(self, decided: Decided) -> None:
        """It is stored."""
        assert self._ahead[0] is decided, "batches are stored in the order in which they were decided"
        self._ahead.pop(0)
        for advance in decided.batch.advances:
            self._positions[advance.partition] = advance.next_offset
            self._leader_epochs[advance.partition] = advance.leader_epoch
            self._reached[advance.partition] = max(advance.next_offset, self._reached.get(advance.partition, 0))
        self._remember(decided.orders)

    def undo(self) -> None:
        """Nothing was decided but what is stored."""
        self._ahead.clear()

    def forget(self, decided: Decided) -> None:
        """Undoes all, and knows nothing of these orders any more: others have changed one of them."""
        self.undo()
        for order_id in decided.orders:
            self._cache.pop(order_id, None)

    def is_undone(self, decided: Decided) -> bool:
        return all(each is not decided for each in self._ahead)

    def _load(self, order_ids: set[int]) -> dict[int, Order]:
        orders = {order_id: self._cache[order_id] for order_id in order_ids if order_id in self._cache}
        for earlier in self._ahead:
            orders |= {order_id: earlier.orders[order_id] for order_id in order_ids & earlier.orders.keys()}
        missing = sorted(order_ids - orders.keys())
        if missing:
            orders |= self._store.load(missing)
        return orders

    def _decide(
        self, decoded: Iterable[Read], orders: dict[int, Order]
    ) -> tuple[BatchOutcome, list[OrderEvent], list[Quarantined]]:
        """Moves `orders` on to where the decisions leave them."""
        outcome = BatchOutcome()
        events: list[OrderEvent] = []
        quarantined: list[Quarantined] = []
        now_ns = self._clock_ns()
        for record, message in decoded:
            outcome.records += 1
            found = message
            if isinstance(found, Message):
                order = orders[found.order_id]
                if (broken := unusable(order)) is not None:
                    outcome.quarantined[broken.reason] += 1
                    quarantined.append(_quarantined(record, broken))
                    continue
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
            if order.missing:
                continue  # somebody may repair it
            self._cache[order_id] = order
            self._cache.move_to_end(order_id)
        while len(self._cache) > self._limits.max_cached_orders:
            self._cache.popitem(last=False)


def unusable(order: Order) -> Unreadable | None:
    """Why nothing can be decided about an order; None if it can."""
    if not order.missing:
        return None
    lacking = ", ".join(map(format_numbers, order.missing))
    return Unreadable("stream_broken", f"the order's stream lacks the versions {lacking}", order.order_id)


def _next(read: Sequence[Read], positions: Mapping[Partition, int | None]) -> tuple[list[Read], list[Advance]]:
    """Those whose turn it is, and where the positions are after them."""
    found: list[Read] = []
    last: dict[Partition, Record] = {}
    for each in read:
        record = each[0]
        position = positions.get(record.partition, math.inf)
        if position is None or record.offset >= position:
            found.append(each)
            last[record.partition] = record
    advances = [
        Advance(partition, positions[partition], record.offset + 1, record.leader_epoch)
        for partition, record in sorted(last.items())
    ]
    return found, advances


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
