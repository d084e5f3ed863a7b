"""The event store in memory: `domain.ports.OrderStore` for tests that need no server."""

import threading
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from domain.events import OrderEvent
from domain.identifiers import stream_id
from domain.order import Order, fold
from domain.ports import Advance, Batch, Fenced, Partition, Quarantined, StaleOrder


class MemoryStore:
    """All or nothing, compare-and-set of positions, versions without gaps; safe for several threads."""

    def __init__(self) -> None:
        self.streams: dict[UUID, list[OrderEvent]] = {}
        self.quarantine: dict[tuple[Partition, int], Quarantined] = {}
        self._positions: dict[Partition, int] = {}
        self._lock = threading.Lock()

    def load(self, order_ids: Iterable[int]) -> Mapping[int, Order]:
        with self._lock:
            return {order_id: self._fold(order_id) for order_id in order_ids}

    def commit(self, batch: Batch) -> None:
        with self._lock:
            positions = self._advanced(batch.advances)
            streams = self._appended(batch.events)
            self._positions |= positions
            self.streams |= streams
            for each in batch.quarantined:
                self.quarantine.setdefault((each.partition, each.offset), each)

    def positions(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        with self._lock:
            return {each: self._positions[each] for each in partitions if each in self._positions}

    def _fold(self, order_id: int) -> Order:
        stream = self.streams.get(stream_id(order_id), [])
        return fold(Order(order_id), stream) or Order(order_id)

    def _advanced(self, advances: Iterable[Advance]) -> dict[Partition, int]:
        moved: dict[Partition, int] = {}
        for advance in advances:
            if self._positions.get(advance.partition) != advance.expected:
                raise Fenced(f"{advance.partition} is not at {advance.expected}")
            moved[advance.partition] = advance.next_offset
        return moved

    def _appended(self, events: Iterable[OrderEvent]) -> dict[UUID, list[OrderEvent]]:
        longer: dict[UUID, list[OrderEvent]] = {}
        for event in events:
            stream = longer.setdefault(event.originator_id, [*self.streams.get(event.originator_id, [])])
            if event.originator_version <= len(stream):
                raise StaleOrder(f"{event.originator_id} has an event {event.originator_version} already")
            assert event.originator_version == len(stream) + 1, "a stream has no gaps"
            stream.append(event)
        return longer


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
