"""The event store in memory: `domain.ports.OrderStore` for tests that need no server."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from uuid import UUID

from domain.events import OrderEvent
from domain.identifiers import stream_id
from domain.order import Order, fold
from domain.ports import (
    Advance,
    Batch,
    Fenced,
    Loss,
    OrderStore,
    Partition,
    Position,
    Quarantined,
    RewindSign,
    Rewound,
    StaleOrder,
    StoreUnavailable,
)

Moment = tuple[dict[UUID, list[OrderEvent]], dict[tuple[Partition, int], Quarantined], dict[Partition, Position]]


class MemoryStore:
    """All or nothing, compare-and-set of positions, versions without gaps; safe for several threads."""

    def __init__(self) -> None:
        self.streams: dict[UUID, list[OrderEvent]] = {}
        self.quarantine: dict[tuple[Partition, int], Quarantined] = {}
        self._positions: dict[Partition, Position] = {}
        self._lock = threading.Lock()

    def load(self, order_ids: Iterable[int]) -> Mapping[int, Order]:
        with self._lock:
            return {order_id: self._fold(order_id) for order_id in order_ids}

    def prepare(self, batch: Batch) -> Batch:
        return batch

    def commit(self, batch: Batch) -> None:
        with self._lock:
            positions = self._advanced(batch.advances)
            streams = self._appended(batch.events, are_read=bool(batch.advances))
            self._move(positions)
            self.streams |= streams
            for each in batch.quarantined:
                self.quarantine.setdefault((each.partition, each.offset), each)

    def positions(self, topics: Iterable[str]) -> Mapping[Partition, Position]:
        with self._lock:
            wanted = set(topics)
            return {each: position for each, position in self._positions.items() if each.topic in wanted}

    def stop(self, partition: Partition, position: int, loss: Loss) -> None:
        with self._lock:
            found = self._positions.get(partition)
            if found is None or found.next_offset != position:
                raise Fenced(f"{partition} is not at {position}")
            self._positions[partition] = replace(found, loss=loss)

    def moment(self) -> Moment:
        """All that is stored now, to go back to."""
        with self._lock:
            streams = {stream: [*events] for stream, events in self.streams.items()}
            return streams, dict(self.quarantine), dict(self._positions)

    def go_back(self, moment: Moment) -> None:
        with self._lock:
            self.streams, self.quarantine, self._positions = moment

    def _move(self, positions: Mapping[Partition, Position]) -> None:
        for partition, position in positions.items():
            self._positions.pop(partition, None)  # the last one moved comes last
            self._positions[partition] = position

    def _fold(self, order_id: int) -> Order:
        stream = self.streams.get(stream_id(order_id), [])
        return fold(Order(order_id), stream) or Order(order_id)

    def _advanced(self, advances: Iterable[Advance]) -> dict[Partition, Position]:
        moved: dict[Partition, Position] = {}
        for advance in advances:
            found = self._positions.get(advance.partition)
            position = None if found is None else found.next_offset
            if position != advance.expected or (found is not None and found.loss is not None):
                raise Fenced(f"{advance.partition} is not at {advance.expected}")
            moved[advance.partition] = Position(advance.next_offset, advance.leader_epoch)
        return moved

    def _appended(self, events: Iterable[OrderEvent], *, are_read: bool) -> dict[UUID, list[OrderEvent]]:
        longer: dict[UUID, list[OrderEvent]] = {}
        for event in events:
            stream = longer.setdefault(event.originator_id, [*self.streams.get(event.originator_id, [])])
            if event.originator_version <= len(stream):
                raise StaleOrder(f"{event.originator_id} has an event {event.originator_version} already")
            if event.originator_version > len(stream) + 1:
                lacking = f"{event.originator_id} lacks what came before {event.originator_version}"
                raise Rewound(RewindSign.STREAM, lacking) if are_read else StaleOrder(lacking)
            stream.append(event)
        return longer


def offsets(store: OrderStore, partitions: Iterable[Partition]) -> dict[Partition, int]:
    """The next offset of each of the partitions that has a position."""
    wanted = list(partitions)
    found = store.positions({each.topic for each in wanted})
    return {each: found[each].next_offset for each in wanted if each in found}


class FlakyStore(MemoryStore):
    """Can be taken away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False

    def positions(self, topics: Iterable[str]) -> Mapping[Partition, Position]:
        self._check()
        return super().positions(topics)

    def commit(self, batch: Batch) -> None:
        self._check()
        super().commit(batch)

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away")


class WatchedStore(MemoryStore):
    """Remembers what it was asked, and lets somebody else act just before a commit."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[list[int]] = []
        self.batches: list[Batch] = []
        self.before_commit: Callable[[], None] = lambda: None

    def load(self, order_ids: Iterable[int]) -> Mapping[int, Order]:
        order_ids = list(order_ids)
        self.loaded.append(order_ids)
        return super().load(order_ids)

    def commit(self, batch: Batch) -> None:
        self.before_commit()
        super().commit(batch)
        self.batches.append(batch)
