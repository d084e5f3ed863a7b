"""A consumer group without a cluster: gives partitions, takes them back or gives them away, and a client that is as
strict as librdkafka about which it may fetch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from adapters.kafka.consumer.assignment import Key
from adapters.kafka.decoding.record import Record
from domain.ports import Partition

Callback = Callable[[Any, list[TopicPartition]], None]


class FakeMessage:
    """A record, or the end of a partition."""

    def __init__(self, key: Key, offset: int, record: Record | None = None) -> None:
        self._key, self._offset, self._record = key, offset, record

    def topic(self) -> str:
        return self._key[0]

    def partition(self) -> int:
        return self._key[1]

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return None if self._record else KafkaError(KafkaError._PARTITION_EOF)

    def timestamp(self) -> tuple[int, int | None]:
        return 0, self._record.timestamp_ms if self._record else None

    def key(self) -> bytes | None:
        return self._record.key if self._record else None

    def value(self) -> bytes | None:
        return self._record.value if self._record else None

    def headers(self) -> list[tuple[str, bytes | None]]:
        return list(self._record.headers) if self._record else []

    def leader_epoch(self) -> int | None:
        return None


@dataclass
class Member:
    """What the group says of one consumer; what it hasn't heard yet, it hears poll by poll."""

    owned: set[Key] = field(default_factory=set)
    unheard: list[tuple[str, set[Key]]] = field(default_factory=list)


class Group:
    """A partition belongs to one member, or to none. Eager ones are given all they have at once, and lose all."""

    def __init__(self, logs: Mapping[Partition, Sequence[Record]], *, incremental: bool, members: int) -> None:
        self.logs = {(log.topic, log.number): records for log, records in logs.items()}
        self.incremental = incremental
        self.members = [Member() for _ in range(members)]

    @property
    def free(self) -> set[Key]:
        pending = {key for each in self.members for what, keys in each.unheard if what == "revoke" for key in keys}
        return set(self.logs) - pending - {key for member in self.members for key in member.owned}

    def give(self, number: int, keys: Iterable[Key]) -> None:
        member, given = self.members[number], self.free & set(keys)
        if not self.incremental and member.owned:
            given |= member.owned
            self.take(number, member.owned)
        member.owned |= given
        member.unheard.append(("assign", given))

    def take(self, number: int, keys: Iterable[Key]) -> None:
        """They belong to nobody before the member has heard of it."""
        member = self.members[number]
        taken = member.owned & set(keys) if self.incremental else set(member.owned)
        member.owned -= taken
        member.unheard.append(("revoke", taken))

    def lose(self, number: int) -> None:
        """It is taken for dead: others may have them at once, while it still reads."""
        member = self.members[number]
        lost = member.owned | {key for what, keys in member.unheard if what == "revoke" for key in keys}
        member.unheard = [(what, keys) for what, keys in member.unheard if what != "revoke"]
        member.owned.clear()
        member.unheard.append(("lost", lost))


class FakeConsumer:
    """Of confluent-kafka's what intake uses; reads two records behind one another as being two offsets apart."""

    def __init__(self, group: Group, number: int, callbacks: Mapping[str, Callback]) -> None:
        self._group = group
        self._member = group.members[number]
        self._callbacks = callbacks
        self._positions: dict[Key, int] = {}
        self._at_end: set[Key] = set()
        self._is_answered = True
        self._has: set[Key] = set()

    # What it is told.

    def incremental_assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._is_answered = True
        for each in partitions:
            self._check((each.topic, each.partition) not in self._positions, KafkaError._CONFLICT)
            self._start(each)

    def incremental_unassign(self, partitions: Iterable[TopicPartition]) -> None:
        self._is_answered = True
        for each in partitions:
            self._check((each.topic, each.partition) in self._positions, KafkaError._INVALID_ARG)
            del self._positions[each.topic, each.partition]

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self.unassign()
        for each in partitions:
            self._start(each)

    def unassign(self) -> None:
        self._is_answered = True
        self._positions.clear()

    def _start(self, partition: TopicPartition) -> None:
        key = (partition.topic, partition.partition)
        assert key in self._has, f"{key} isn't ours to fetch"
        self._positions[key] = 0 if partition.offset == OFFSET_BEGINNING else partition.offset
        self._at_end.discard(key)

    @staticmethod
    def _check(holds: bool, code: int) -> None:  # noqa: FBT001 - an assertion
        if not holds:
            raise KafkaException(KafkaError(code))

    # What it tells.

    def poll(self, timeout: float = 0) -> FakeMessage | None:
        self._hear()
        return next(iter(self._fetch(1)), None)

    def consume(self, num_messages: int, timeout: float = 0) -> list[FakeMessage]:
        return self._fetch(num_messages)

    def position(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        return [
            TopicPartition(each.topic, each.partition, self._positions[each.topic, each.partition])
            for each in partitions
        ]

    def get_watermark_offsets(self, partition: TopicPartition, **_: object) -> tuple[int, int]:
        return 0, 2 * len(self._group.logs[partition.topic, partition.partition])

    def commit(self, **_: object) -> None:
        pass

    def _hear(self) -> None:
        if not self._member.unheard:
            return
        what, keys = self._member.unheard.pop(0)
        self._has = self._has | keys if what == "assign" else self._has - keys
        self._is_answered = False
        partitions = [TopicPartition(*key) for key in sorted(keys)]
        self._callbacks[what](self, partitions)
        if not self._is_answered:  # then the client does it, in confluent-kafka
            self.incremental_unassign(partitions)
        assert set(self._positions) <= self._has, "what isn't ours is fetched"

    def _fetch(self, number: int) -> list[FakeMessage]:
        """The end of a partition is told once, behind what a transaction leaves there."""
        found: list[FakeMessage] = []
        for key in sorted(self._positions):
            for record in self._group.logs[key]:
                if record.offset >= self._positions[key] and len(found) < number:
                    found.append(FakeMessage(key, record.offset, record))
                    self._positions[key] = record.offset + 1
            end = 2 * len(self._group.logs[key])
            if len(found) < number and key not in self._at_end:
                self._at_end.add(key)
                self._positions[key] = max(end, self._positions[key])
                found.append(FakeMessage(key, self._positions[key]))
        return found
